"""The interface for programs in OpenAPI's words; the page lists it, too."""

from __future__ import annotations

from typing import Any, NamedTuple

_PROBLEM = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_REFUSALS = {
    400: "The body is not what its content-type says",
    401: "The token is missing",
    408: "The body came too slowly",
    413: "Too many bytes or pixels",
    415: "No picture, or a content-type that is not taken",
    422: "A field is wrong; names without a text embedding have the nearest known ones in 'nearest'",
    429: "Too many pictures a minute",
    503: "Too many pictures wait already; Retry-After says when to ask again",
}
_FIELDS = {
    "vocabulary": {"type": "string", "description": "The name of a vocabulary (default: the first)"},
    "score_threshold": {"type": "number", "default": 0, "description": "Leave out what scores less"},
}
_NAMES = {"type": "array", "items": {"type": "string"}, "description": "Names to look for, in place of a vocabulary"}


class Operation(NamedTuple):
    """One path, for the page."""

    method: str
    path: str
    summary: str


def document() -> dict[str, Any]:
    """The description, as ``/openapi.json`` has it."""

    def body(image: dict[str, str], **more: Any) -> dict[str, Any]:
        properties = {"image": image, "names": _NAMES, **_FIELDS, **more}
        return {"schema": {"type": "object", "properties": properties, "required": ["image"]}}

    def said(what: str, kind: str = "application/json") -> dict[str, Any]:
        return {"200": {"description": what, "content": {kind: {}}}}

    problem = {"application/json": {"schema": _PROBLEM}}
    picture = {"type": "string", "contentEncoding": "base64", "description": "A picture's file; a data: URL will do"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "UniDetector", "version": "1", "description": "Finds what you can name in pictures."},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
        "paths": {
            "/detect": {
                "post": {
                    "summary": "Find what is in a picture: JPEG, PNG, WebP or BMP",
                    "requestBody": {
                        "required": True,
                        "content": {
                            "multipart/form-data": body({"type": "string", "format": "binary"}),
                            "application/json": body(picture, file_name={"type": "string"}),
                        },
                    },
                    "responses": {
                        **said("A COCO annotation file with scores: what python -m trainer detect writes"),
                        **{str(code): {"description": text, "content": problem} for code, text in _REFUSALS.items()},
                    },
                }
            },
            "/vocabulary": {
                "get": {"summary": "List the names that can be asked for", "responses": said("Vocabularies, limits")}
            },
            "/healthz": {"get": {"summary": "Say that pictures are taken", "responses": said("It is up")}},
            "/metrics": {
                "get": {"summary": "Tell Prometheus how it fares", "responses": said("Its format", "text/plain")}
            },
        },
    }


def operations() -> list[Operation]:
    """Every path with its summary."""
    paths: dict[str, dict[str, Any]] = document()["paths"]
    return [
        Operation(method.upper(), path, operation["summary"])
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]
