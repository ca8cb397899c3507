// The page: what is in a data set.
//
//   split, data set, class, size ── GET S/images ──► tiles, a page of them ── near the screen ──► GET S/picture
//   step ────────────────────────── GET S/batch ───► tiles, a batch ───────── one by one ───────► GET S/fed
//   a tile ──► dialog: the file's picture, or GET S/sample, with boxes and names
//
// A page that is a file has all answers in the element `held`, and samples in place of the images.

const PER_PAGE = 48, EDGE = 480, LARGE = 1600; // pictures; pixels of their longer sides
const CLASSES = 60; // bars at first
const MOST_LABELS = 60;
const held = el("held") && JSON.parse(el("held").textContent);
let served = null, sources = [], view = "images", start = 0, total = 0, shown = [], current = -1, asked = 0;
const hidden = new Set();
const urls = { grid: [], one: [] }; // of pictures that are held

const split = () => el("split").value;
const basename = (path) => path.replace(/^.*\//, "");
const many = (count) => count.toLocaleString("en");
const nameOf = (names, label) => names[label] ?? "?";

async function json(path, query = {}) {
  const words = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
  return answer(`${split()}${path}?${words}`);
}

async function answer(path) {
  return held ? good(held[path]) : JSON.parse(await ask(path));
}

function good(found) {
  if (found.error) throw new Error(found.error);
  return found;
}

async function samples({ source, name, start, count }) {
  const { images } = await json("/samples");
  const wanted = images.filter((one) => (source === "" || one.source === Number(source)) && (name === "" || one.classes.includes(name)));
  return { total: wanted.length, images: wanted.slice(start, start + count) };
}

// A picture of a place; held until the list or the dialog that it is in shows another.
async function picture(place, edge, holder) {
  const blob = await ask(`${split()}/picture/${place}?edge=${edge}`, {}, "blob");
  const url = URL.createObjectURL(blob);
  urls[holder].push(url);
  return url;
}

function release(holder) {
  for (const url of urls[holder].splice(0)) URL.revokeObjectURL(url);
}

const settle = () => el("problem").replaceChildren();

async function trying(work) {
  const mine = ++asked;
  el("status").textContent = "Loading …";
  try {
    await work(() => mine === asked);
    if (mine === asked) settle();
  } catch (error) {
    if (mine === asked) el("problem").replaceChildren(make("p", error.message));
  } finally {
    if (mine === asked) el("status").textContent = "";
  }
}

const boxesOf = (found, names) => found.map(([x1, y1, x2, y2, label, crowd]) =>
  ({ bbox: [x1, y1, x2 - x1, y2 - y1], name: nameOf(names, label), crowd }));

// ---------------------------------------------------------------------------------------------------------- tiles

const near = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((one) => one.isIntersecting)) {
    near.unobserve(entry.target);
    entry.target.load();
  }
}, { rootMargin: "300px" });

// `fill` is called when the tile comes near the screen, with the tile.
function tile(caption, note, fill, open) {
  const element = el("tile").content.firstElementChild.cloneNode(true);
  element.querySelector(".caption").textContent = caption;
  element.querySelector(".note").textContent = note;
  element.load = async () => {
    try {
      await fill(element);
    } catch (error) {
      element.querySelector(".canvas").classList.add("empty");
      element.querySelector(".note").textContent = error.message;
    }
  };
  element.onclick = open;
  near.observe(element);
  return element;
}

function paint(element, url, width, height, boxes) {
  element.querySelector("img").src = url;
  const svg = element.querySelector("svg");
  drawBoxes(svg, boxes, width, height);
  svg.setAttribute("preserveAspectRatio", "xMidYMid meet"); // as the picture lies in its tile
}

function list() {
  return trying(async (wanted) => {
    const query = {
      source: el("source").value, name: el("name").value, size: el("size").value, find: el("find").value.trim(),
      start, count: PER_PAGE,
    };
    const found = held ? await samples(query) : await json("/images", query);
    if (!wanted()) return;
    ({ total, images: shown } = found);
    el("start").max = Math.max(0, total - 1);
    el("start").value = start;
    el("range").textContent = total ? `${many(start + 1)} – ${many(start + shown.length)} of ${many(total)}` : held ? "none of those here" : "no image";
    el("before").disabled = start === 0;
    el("after").disabled = start + PER_PAGE >= total;
    release("grid");
    near.disconnect();
    el("grid").replaceChildren(...shown.map((one, number) => {
      const boxes = boxesOf(one.boxes, one.names ?? sources[one.source].classes);
      const note = `${one.width} × ${one.height}, ${boxes.length} box${boxes.length === 1 ? "" : "es"}`;
      return tile(basename(one.file), note, async (element) =>
        paint(element, held ? good(one).picture : await picture(one.place, EDGE, "grid"), one.width, one.height, boxes), () => open(number));
    }));
  });
}

function turn(pages) {
  const next = start + pages * PER_PAGE;
  if (next >= total || next <= -PER_PAGE) return;
  start = Math.max(0, next);
  list();
}

function batch() {
  const step = Math.max(0, Math.floor(Number(el("step").value) || 0));
  return trying(async (wanted) => {
    const found = await json(`/batch/${step}`);
    if (!wanted()) return;
    const last = found.switched ? ", by the pipeline of the last epochs" : "";
    el("recipe").textContent =
      `epoch ${found.epoch}, ${many(found.steps_per_epoch)} steps each, seed ${served.seed} of the config${last}`;
    near.disconnect();
    shown = [];
    el("samples").replaceChildren(...found.samples.map(([index, seed], place) =>
      tile(`image ${index}`, `seed ${seed}${place < found.valid ? "" : ", not counted"}`, async (element) => {
        const one = await json(`/fed/${index}`, { seed, switched: found.switched });
        element.querySelector(".caption").textContent = basename(one.file);
        paint(element, one.picture, one.width, one.height, boxesOf(one.boxes, one.names));
        element.onclick = () => show({ ...one, seed }, `${one.file}`);
      })));
  });
}

// ------------------------------------------------------------------------------------------------------ one image

async function open(number) {
  current = number;
  const one = shown[number], fed = held || el("as-fed").getAttribute("aria-pressed") === "true";
  el("previous").disabled = number === 0;
  el("next").disabled = number === shown.length - 1;
  el("seeding").hidden = !fed;
  try {
    const got = held ? good(one) : fed
      ? await json(`/sample/${one.place}`, { seed: el("seed").value })
      : { ...one, names: sources[one.source].classes, picture: await picture(one.place, LARGE, "one") };
    if (current === number) show(got, one.file, fed);
  } catch (error) {
    if (current === number) show({ ...one, names: sources[one.source].classes, boxes: [], picture: "" }, one.file, fed, error);
  }
}

function show(one, file, fed = true, error = null) {
  el("title").textContent = basename(file);
  el("failed").textContent = error ? error.message : "";
  const listed = current >= 0;
  for (const id of ["previous", "next", "as-file", "as-fed"]) el(id).hidden = !listed;
  if (!listed) el("seeding").hidden = true;
  const flips = fed && one.flipped ? ", flipped" : "", seed = one.seed ? `, seed ${one.seed}` : "";
  el("facts").textContent = `${file} · ${one.width} × ${one.height}${flips}${seed}${one.id ? ` · id ${one.id}` : ""}`;
  const dialog = el("one");
  if (!dialog.open) { dialog.showModal(); hidden.clear(); }
  const image = dialog.querySelector("img");
  image.onload = () => drawOne(one);
  image.src = one.picture || "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
  image.alt = basename(file);
}

function drawOne(one) {
  const dialog = el("one"), canvas = dialog.querySelector(".canvas"), style = getComputedStyle(dialog);
  const room = dialog.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const scale = Math.min(room / one.width, (innerHeight * 0.62) / one.height, 4);
  canvas.style.width = `${one.width * scale}px`;
  canvas.style.height = `${one.height * scale}px`;
  const all = boxesOf(one.boxes, one.names), left = all.filter((box) => !hidden.has(box.name));
  drawBoxes(canvas.querySelector("svg"), left, one.width, one.height);
  const tags = canvas.querySelector(".tags");
  const text = (box) => box.crowd ? `${box.name}, crowd` : box.name;
  tags.replaceChildren(...labels(left.slice(0, MOST_LABELS), tags, one.width, one.height, text));
  const counts = new Map();
  for (const box of all) counts.set(box.name, (counts.get(box.name) || 0) + 1);
  const focused = el("legend").contains(document.activeElement) ? document.activeElement.dataset.name : null;
  el("legend").replaceChildren(...[...counts].map(([name, count]) => {
    const button = make("button", "", { type: "button" }), colour = make("i");
    colour.style.background = colourOf(name).css;
    button.append(colour, name, make("b", String(count)));
    button.dataset.name = name;
    button.setAttribute("aria-pressed", String(!hidden.has(name)));
    button.onclick = () => { if (!hidden.delete(name)) hidden.add(name); drawOne(one); };
    return button;
  }));
  if (focused !== null) [...el("legend").children].find((button) => button.dataset.name === focused)?.focus();
}

function press(fed) {
  el("as-file").setAttribute("aria-pressed", String(!fed));
  el("as-fed").setAttribute("aria-pressed", String(fed));
  open(current);
}

// -------------------------------------------------------------------------------------------------------- numbers

function edge(value) {
  for (const part of [2, 3, 4, 8]) {
    const whole = value * part;
    if (value < 2 && value % 1 && Math.abs(whole - Math.round(whole)) < 1e-9) return `${Math.round(whole)}/${part}`;
  }
  return String(value);
}

const FAR = 2 ** 31;

function bars(rows) {
  const most = Math.max(1, ...rows.map(([, count]) => count));
  return rows.map(([label, count, text, act]) => {
    const row = make("div", "", { className: count ? "bar" : "bar none" });
    const name = act ? make("button", label, { type: "button", title: `Show images with ${label}`, onclick: act }) : make("span", label);
    const bar = make("b"), room = make("span");
    bar.style.width = `${(100 * count) / most}%`;
    room.append(bar);
    row.append(name, room, make("span", text ?? many(count)));
    return row;
  });
}

function chart(title, note, rows, extra = "") {
  const element = make("section", "", { className: `panel chart ${extra}` });
  const all = make("div", "", { className: "bars" });
  all.append(...bars(rows));
  element.append(make("h2", title), make("p", note, { className: "note" }), all);
  return element;
}

function histogram({ edges, counts }, whole = false) {
  return counts.map((count, place) => {
    const [low, high] = edges.slice(place, place + 2);
    const label = high === FAR ? `${edge(low)} +` : whole && high - low === 1 ? String(low)
      : `${edge(low)} – ${edge(whole ? high - 1 : high)}`;
    return [label, count];
  });
}

function numbers() {
  return trying(async (wanted) => {
    const source = el("source").value, found = await json("/numbers", { source });
    if (!wanted()) return;
    const place = make("div", "", { className: "charts" });
    const crowds = found.crowds ? `, and ${many(found.crowds)} crowds, which are not counted here` : "";
    const classes = (most) => {
      const rows = found.classes.slice(0, most).map(([name, boxes, images]) =>
        [name, boxes, `${many(boxes)} in ${many(images)}`, () => seek({ name })]);
      const element = chart(`${many(found.classes.length)} classes`, "boxes, in so many images; press a name to see them", rows, "classes");
      if (most < found.classes.length) {
        element.append(make("button", "Show all", { type: "button", onclick: () => element.replaceWith(classes(Infinity)) }));
      }
      return element;
    };
    place.append(
      chart("Boxes of an image", `${many(found.boxes)} boxes in ${many(found.images)} images${crowds}`, histogram(found.per_image, true)),
      chart("Size of a box", "the root of its area, in pixels of the file", histogram(found.side)),
      chart("Shape of a box", "width by height", histogram(found.aspect)),
      classes(CLASSES),
    );
    el("numbers").replaceChildren(place);
    const light = await json("/brightness", { source });
    const note = `the mean of an image's bytes, in ${many(light.images)} images`;
    if (wanted()) place.lastChild.before(chart("Brightness", note, histogram(light)));
    const { file, pairs } = await json("/alike", { source });
    if (!wanted() || !pairs.length) return;
    const near = pairs.map(([one, other, cosine]) => [`${one} · ${other}`, Math.max(cosine, 0), cosine.toFixed(3)]);
    place.append(chart("Names that are hard to tell apart", `the cosine between their text embeddings, ${file}`, near, "classes pairs"));
  });
}

// The images that are meant, whatever was looked for before.
function seek({ name = "", find = "" }) {
  Object.assign(el("name"), { value: name });
  Object.assign(el("find"), { value: find });
  el("size").value = "";
  start = 0;
  return choose("images");
}

function check() {
  return trying(async (wanted) => {
    el("found").replaceChildren();
    const { findings } = await json("/findings");
    if (!wanted()) return;
    el("found").replaceChildren(...findings.map((one) => {
      const element = make("section", "", { className: "panel" }), items = make("ul");
      for (const kind of one.findings) {
        const item = make("li");
        item.append(make("span", kind.error ? "error: " : "warning: ", { className: kind.error ? "error" : "" }),
          `${kind.count ? `${many(kind.count)} ` : ""}${kind.text}`);
        for (const [text, find] of kind.places) {
          const row = make("div");
          row.append(find && !held ? make("button", text, { type: "button", className: "link", onclick: () => seek({ find }) }) : text);
          item.append(row);
        }
        items.append(item);
      }
      element.append(make("h2", one.data_set), make("p", one.summary, { className: "note" }),
        one.findings.length ? items : make("p", "Nothing is wrong."));
      return element;
    }));
  });
}

// ---------------------------------------------------------------------------------------------------------- start

const VIEWS = { images: list, batch, numbers, findings: held ? check : () => {} };

function choose(which) {
  view = which;
  for (const name of Object.keys(VIEWS)) el(name).hidden = name !== which;
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === which));
  }
  for (const one of document.querySelectorAll("[data-of]")) one.hidden = !one.dataset.of.split(" ").includes(which);
  settle();
  return VIEWS[which]();
}

async function enter() {
  await trying(async () => {
    ({ sources } = await json(""));
    const options = sources.map((one, number) => new Option(`${one.name} (${many(one.images)})`, number));
    el("source").replaceChildren(new Option(sources.length > 1 ? `all ${sources.length}` : sources[0].name, ""), ...(sources.length > 1 ? options : []));
    const names = new Set(sources.flatMap((one) => one.classes));
    el("names").replaceChildren(...[...names].map((name) => new Option(name, name)));
    el("name").value = el("size").value = el("find").value = "";
    el("found").replaceChildren();
    start = 0;
    if (!held) return;
    const { images, of } = await json("/samples");
    el("kept").textContent = `${many(images.length)} of the ${many(of)} images`;
    el("written").textContent = served.written;
    el("again").textContent = served.config;
  });
  if (!el("problem").childElementCount) choose(view);
}

async function begin() {
  try {
    served = await answer("data");
  } catch (error) {
    if (el("locked").hidden || token) el("problem").replaceChildren(make("p", el("locked").hidden ? error.message : "This is not the server's token."));
    return;
  }
  el("locked").hidden = true;
  el("controls").hidden = el("views").hidden = false;
  el("config").textContent = served.config;
  el("split").replaceChildren(...served.splits.map((name) => new Option(name, name)));
  settle();
  enter();
}

el("locked").onsubmit = (event) => { event.preventDefault(); token = el("token").value; begin(); };
el("split").onchange = enter;
el("source").onchange = () => { start = 0; choose(view); };
for (const id of ["name", "size", "find"]) el(id).onchange = () => { start = 0; list(); };
el("views").onclick = (event) => { const which = event.target.closest("[data-view]")?.dataset.view; if (which) choose(which); };
el("before").onclick = () => turn(-1);
el("after").onclick = () => turn(1);
el("start").onchange = () => { start = Number(el("start").value); list(); };
el("step-form").onsubmit = (event) => { event.preventDefault(); batch(); };
el("step").onchange = batch;
for (const [id, by] of [["step-before", -1], ["step-after", 1]]) {
  el(id).onclick = () => { el("step").value = Math.max(0, Number(el("step").value) + by); batch(); };
}
el("check").onclick = check;
el("previous").onclick = () => { if (current > 0) open(current - 1); };
el("next").onclick = () => { if (current < shown.length - 1) open(current + 1); };
el("close").onclick = () => el("one").close();
el("one").onclose = () => { current = -1; release("one"); };
el("as-file").onclick = () => press(false);
el("as-fed").onclick = () => press(true);
el("seed").onchange = () => open(current);
el("another").onclick = () => { el("seed").value = String(Math.floor(Math.random() * 2 ** 32)); open(current); };
addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by) return;
  if (el("one").open) el(by < 0 ? "previous" : "next").click();
  else if (view === "images") turn(by);
});
begin();
