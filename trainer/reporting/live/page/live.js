// The page of a run: every few seconds what has been logged since, drawn.
//
//   GET runs ──► steps, folders          GET numbers?run=&after= ──► lines, added to those that are there ──► charts

const SECONDS = 3, MOST_POINTS = 600;
const SCALES = { device_bytes: [2 ** 20, "MiB"], card_bytes: [2 ** 20, "MiB"], data_wait_share: [0.01, "%"] };
const NO_CURVE = ["kind", "step", "epoch", "name"];
const logs = new Map(); // run -> {after, lines}
let chosen = null;

const shown = (value) => Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 6, maximumSignificantDigits: 4 });

async function update() {
  try {
    const { work_dir: folder, steps, runs } = JSON.parse(await ask("runs"));
    el("work-dir").textContent = folder;
    list(steps);
    pick(runs);
    if (chosen !== null) await follow(chosen);
    el("problem").replaceChildren();
  } catch (error) {
    el("problem").replaceChildren(make("p", `${error.message} A run that has ended shows nothing more.`));
  }
  setTimeout(update, 1000 * SECONDS);
}

function list(steps) {
  el("steps").hidden = !steps.length;
  el("steps").replaceChildren(...steps.map(({ name, state, seconds }) =>
    make("li", `${name}: ${state}${seconds ? `, ${Math.round(seconds)} s` : ""}`, { className: state })));
}

function pick(runs) {
  el("empty").hidden = runs.length > 0;
  const latest = runs.at(-1) ?? null;
  if (chosen === null || !runs.includes(chosen) || el("runs").dataset.latest !== String(latest)) chosen = latest;
  el("runs").dataset.latest = String(latest);
  el("runs").hidden = runs.length < 2;
  if (el("runs").childElementCount === runs.length) return;
  el("runs").replaceChildren(...runs.map((name) => {
    const button = make("button", name || "this run", { type: "button" });
    button.dataset.run = name;
    button.onclick = () => { chosen = name; follow(name); };
    return button;
  }));
}

async function follow(run) {
  for (const button of el("runs").children) button.setAttribute("aria-pressed", String(button.dataset.run === run));
  const log = logs.get(run) ?? { after: 0, lines: [] };
  logs.set(run, log);
  for (;;) {
    const query = new URLSearchParams({ run, after: log.after });
    const found = JSON.parse(await ask(`numbers?${query}`));
    if (found.again) log.lines = [];
    log.lines.push(...found.lines);
    log.after = found.after;
    if (!found.lines.length) break;
  }
  if (chosen === run) draw(log.lines);
}

function draw(lines) {
  const curves = new Map(); // title -> [[step, value]]
  for (const line of lines) {
    for (const [key, value] of Object.entries(line)) {
      if (NO_CURVE.includes(key) || typeof value !== "number") continue;
      const title = line.kind === "val" ? `${line.name}: ${key}` : key, [unit, word] = SCALES[key] ?? [1, ""];
      if (!curves.has(title)) curves.set(title, { word, points: [], first: line.kind === "val" });
      curves.get(title).points.push([line.step, value / unit]);
    }
  }
  const last = lines.findLast((line) => line.kind === "train");
  el("status").textContent = last ? `epoch ${last.epoch}, step ${last.step.toLocaleString("en")}` : "";
  const sorted = [...curves].sort(([, one], [, other]) => other.first - one.first);
  el("charts").replaceChildren(...sorted.map(([title, curve]) => chart(title, curve)));
}

function chart(title, { word, points }) {
  const every = Math.ceil(points.length / MOST_POINTS), some = points.filter((_, place) => (points.length - 1 - place) % every === 0);
  const values = some.map(([, value]) => value), low = Math.min(...values), high = Math.max(...values);
  const first = some[0][0], wide = Math.max(1, some.at(-1)[0] - first), tall = high - low || 1;
  const element = make("section", "", { className: "panel chart" });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const places = some.map(([step, value]) => [(100 * (step - first)) / wide, 100 - (100 * (value - low)) / tall]);
  if (places.length === 1) places.push([100, places[0][1]]);
  line.setAttribute("points", places.map((place) => place.join(",")).join(" "));
  svg.append(line);
  const ends = make("div", "", { className: "ends" });
  ends.append(make("span", `step ${first.toLocaleString("en")}`), make("span", `${shown(low)} to ${shown(high)}`), make("span", some.at(-1)[0].toLocaleString("en")));
  element.append(make("h2", title), make("p", `${shown(values.at(-1))} ${word}`), svg, ends);
  return element;
}

update();
