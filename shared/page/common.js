// What all pages have in common: the server, elements, colours of names.
//
// What a server says is text: it is put into a page as text, never as HTML.
"use strict";

const el = (id) => document.getElementById(id);
let token = new URLSearchParams(location.hash.slice(1)).get("token") || "";

function make(tag, text = "", properties = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, properties);
}

// An answer of the server's, as `read` takes it; shows the form for the token where one is needed.
async function ask(path, options = {}, read = "text") {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  for (let tries = 0; ; tries++) {
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch {
      throw new Error("The server does not answer. Is it still running?");
    }
    if (response.ok) return response[read]();
    const text = await response.text();
    if ((response.status === 503 || response.status === 429) && tries < 20) {
      await new Promise((done) => setTimeout(done, 1000 * Number(response.headers.get("retry-after") || 1)));
      continue;
    }
    if (response.status === 401) el("locked").hidden = false;
    let said = {};
    try { said = JSON.parse(text); } catch { /* of something between us and the server */ }
    throw Object.assign(new Error(said.error || `The server says ${response.status}.`), { nearest: said.nearest });
  }
}

// The colour that python -m trainer detect --draw gives a name.
const colours = new Map();
function colourOf(name) {
  if (!colours.has(name)) {
    let crc = -1;
    for (const byte of new TextEncoder().encode(name)) {
      crc ^= byte;
      for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
    crc = ~crc >>> 0;
    const hue = crc % 360, tone = Math.floor(crc / 360) % 3;
    const saturation = [0.9, 0.65, 1][tone], value = [1, 1, 0.8][tone];
    const channel = (n) => {
      const k = (n + hue / 60) % 6;
      return Math.round(255 * (value - value * saturation * Math.max(0, Math.min(k, 4 - k, 1))));
    };
    const [r, g, b] = [channel(5), channel(3), channel(1)];
    colours.set(name, { css: `rgb(${r}, ${g}, ${b})`, ink: 0.299 * r + 0.587 * g + 0.114 * b > 110 ? "#000" : "#fff" });
  }
  return colours.get(name);
}

// Boxes over a picture, of {bbox: x, y, width, height in its pixels; name; crowd}; the first lies on top.
function drawBoxes(svg, shown, width, height) {
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  const boxes = [];
  for (const one of [...shown].reverse()) {
    const [x, y, w, h] = one.bbox, colour = colourOf(one.name);
    for (const edge of [true, false]) {
      const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      Object.entries({ x, y, width: Math.max(w, 0), height: Math.max(h, 0) }).forEach(([k, v]) => rect.setAttribute(k, v));
      if (edge) rect.classList.add("edge"); else rect.style.stroke = colour.css;
      if (one.crowd) rect.classList.add("crowd");
      boxes.push(rect);
    }
  }
  svg.replaceChildren(...boxes);
}

const TAG = 16, LETTER = 6.6; // pixels: a label's height, and the width of one of its letters

// What `textOf` says of each box, at its edges, the first first; one that finds no free place is left out.
function labels(shown, tags, width, height, textOf) {
  const x = tags.clientWidth / width, y = tags.clientHeight / height, taken = [], made = [];
  for (const one of shown) {
    const text = textOf(one), long = text.length * LETTER + 10;
    const [left, top, right, bottom] = [one.bbox[0] * x, one.bbox[1] * y, (one.bbox[0] + one.bbox[2]) * x, (one.bbox[1] + one.bbox[3]) * y];
    const places = [top - TAG, top, bottom, bottom - TAG].flatMap((at) => [[left, at], [right - long, at]]);
    const free = places.find(([px, py]) => px >= 0 && py >= 0 && px + long <= tags.clientWidth && py + TAG <= tags.clientHeight
      && !taken.some(([qx, qy, other]) => px < qx + other && qx < px + long && Math.abs(py - qy) < TAG));
    if (!free) continue;
    taken.push([...free, long]);
    const label = make("span", text), colour = colourOf(one.name);
    Object.assign(label.style, { background: colour.css, color: colour.ink, left: `${free[0]}px`, top: `${free[1]}px` });
    made.push(label);
  }
  return made;
}
