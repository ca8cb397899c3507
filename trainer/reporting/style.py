"""How a report looks."""

STYLE = """
:root {
  --ink: #1f2328;
  --muted: #59636e;
  --line: #d8dee4;
  --paper: #fff;
  --ground: #f6f8fa;
  --accent: #0a5ea8;
}
* { box-sizing: border-box }
html { scroll-behavior: smooth }
body {
  margin: 0;
  background: var(--ground);
  color: var(--ink);
  font: 16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
}
header,main,footer { max-width: 1360px; margin: 0 auto; padding: 0 24px }
header { padding-top: 40px }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .4em; letter-spacing: -.01em }
header p { font-size: 1.1rem; max-width: 72ch; margin: 0 0 1em; color: var(--muted) }
nav { display: flex; flex-wrap: wrap; gap: 8px }
nav a {
  padding: 4px 12px;
  border: 1px solid var(--line);
  border-radius: 99px;
  background: var(--paper);
  color: var(--accent);
  text-decoration: none;
}
nav a:hover,nav a:focus-visible { border-color: var(--accent) }
section {
  background: var(--paper);
  border: 1px solid var(--line);
  border-radius: 12px;
  margin: 24px 0;
  padding: 8px 24px 24px;
  scroll-margin-top: 16px;
}
h2 { font-size: 1.3rem; margin: .7em 0 .5em }
h3,caption { font-size: 1.02rem; font-weight: 600; margin: 1.4em 0 .4em; text-align: left }
p { max-width: 80ch; margin: .5em 0 }
.note { color: var(--muted); font-size: .9rem }
.warning { border-left: 4px solid #bc4c00; padding: .4em .9em; background: #fff4ec }
.table { overflow-x: auto }
table { border-collapse: collapse; margin: .6em 0; font-variant-numeric: tabular-nums }
caption { padding-bottom: .4em }
th,td { padding: 6px 16px 6px 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap }
thead th { color: var(--muted); font-size: .85rem; font-weight: 600; vertical-align: bottom }
tbody th { font-weight: 500 }
.number { text-align: right; padding-left: 12px }
td:not(.number) { white-space: normal; overflow-wrap: anywhere; min-width: 12ch }
tbody tr:hover { background: var(--ground) }
.charts {
  display: grid;
  grid-template-columns: repeat(auto-fill,minmax(min(100%,520px),1fr));
  gap: 12px 24px;
  align-items: start;
  margin: 12px 0;
}
figure { margin: 0 }
.chart svg { width: 100%; max-width: 640px; height: auto; display: block }
.gallery {
  display: grid;
  grid-template-columns: repeat(auto-fill,minmax(min(100%,380px),1fr));
  gap: 16px;
  margin: 12px 0;
}
.gallery img { display: block; width: 100%; height: auto; border-radius: 6px }
figcaption {
  font-size: .85rem;
  line-height: 1.4;
  color: var(--muted);
  margin-top: 6px;
  overflow-wrap: anywhere;
}
figcaption b { color: var(--ink); font-weight: 600 }
footer { padding-bottom: 40px; color: var(--muted); font-size: .85rem }
dl { display: flex; flex-wrap: wrap; gap: 4px 28px; margin: 0 }
dl div { display: flex; gap: 8px }
dt { font-weight: 600 }
dd { margin: 0; overflow-wrap: anywhere }
@media(max-width:600px){
  header,main,footer { padding-left: 12px; padding-right: 12px }
  section { padding: 4px 14px 16px }
}
@media print{
  body { background: #fff }
  section { border: 0; padding: 0; break-inside: auto }
  nav { display: none }
  figure,tr { break-inside: avoid }
}
"""
