"""What both processes speak: arena, layout, messages, link and config. Imports neither torch nor Jittor."""
