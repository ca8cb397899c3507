// The page: pictures and names in, boxes out.
//
//   file ─► card ─► pane 0, pane 1 ── POST detect, once for each picture and choice of names ──► answers (text, kept)
//   sliders, names, check box ───────────────────── act on the answers that are there: draw() ──► boxes

const TYPED = "\u0000typed", NONE = "\u0000none"; // choices that are no vocabulary's name
const PARALLEL = 2; // questions on their way at a time
const COMPLETIONS = 20;
const NARROW = 720; // pixels: on such a screen the controls leave no room for pictures
const cards = []; // {file, url, element, panes: [{side, element, key, answer, drawn}], hidden: Set of names}
const answers = new WeakMap(); // file -> Map of key -> Promise of an answer
const typed = [];
let served = null, known = [];

// ---------------------------------------------------------------------------------------------------- the server

const waiting = [];
let running = 0;

function inTurn(work) {
  return new Promise((resolve, reject) => {
    waiting.push(() => work().then(resolve, reject).finally(() => { running--; next(); }));
    next();
  });
}

function next() {
  while (running < PARALLEL && waiting.length) { running++; waiting.shift()(); }
  el("status").textContent = running ? `Looking … ${running + waiting.length} to go` : "";
}

// What is found in a file for a choice of names; asked once.
function detect(file, choice) {
  if (!answers.has(file)) answers.set(file, new Map());
  const kept = answers.get(file), key = JSON.stringify(choice);
  if (!kept.has(key)) {
    const form = new FormData();
    form.append("image", file, file.name);
    for (const name of choice.names || []) form.append("names", name);
    if (choice.vocabulary) form.append("vocabulary", choice.vocabulary);
    const answer = inTurn(async () => {
      const text = await ask("detect", { method: "POST", body: form });
      return { text, ...JSON.parse(text) };
    });
    answer.catch(() => kept.delete(key)); // may be asked again
    kept.set(key, answer);
  }
  return kept.get(key);
}

// ------------------------------------------------------------------------------------------------- what is chosen

function choiceOf(side) {
  const value = el(`vocabulary-${side}`).value;
  if (value === NONE || (value === TYPED && !typed.length)) return null;
  return value === TYPED ? { names: [...typed] } : { vocabulary: value };
}

function fillSelect(side) {
  const select = el(`vocabulary-${side}`), before = select.value;
  const options = served.vocabularies.map((one) => [one.name, `${one.name} (${one.names.length})`]);
  if (side === 1) options.unshift([NONE, "nothing"]);
  if (typed.length) options.push([TYPED, `my names (${typed.length})`]);
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  select.value = options.some(([value]) => value === before) ? before : options[0][0];
}

function addNames(text) {
  for (const name of text.split(",").map((one) => one.trim().replace(/\s+/g, " "))) {
    if (name && !typed.some((one) => one.toLowerCase() === name.toLowerCase())) typed.push(name);
  }
  namesChanged(true);
}

function namesChanged(choose) {
  el("chips").replaceChildren(...typed.map((name) => {
    const button = make("button", name, { type: "button", ariaLabel: `Remove ${name}` });
    button.onclick = () => { typed.splice(typed.indexOf(name), 1); namesChanged(false); el("name").focus(); };
    const item = make("li");
    item.append(button);
    return item;
  }));
  el("name").placeholder = typed.length ? "another name" : "type a name, press Enter";
  fillSelect(0);
  fillSelect(1);
  if (choose && typed.length && el("vocabulary-1").value !== TYPED) el("vocabulary-0").value = TYPED;
  refresh();
}

function complete() {
  const words = el("name").value.trim().toLowerCase();
  const starts = [], within = [];
  for (const name of words ? known : []) {
    const place = name.toLowerCase().indexOf(words);
    if (place >= 0) (place ? within : starts).push(name);
  }
  const found = [...starts, ...within].slice(0, COMPLETIONS);
  el("completions").replaceChildren(...found.map((name) => new Option(name, name)));
}

// ---------------------------------------------------------------------------------------------------- cards, panes

function addFiles(files) {
  for (const file of files) {
    if (!/^image\/(jpeg|png|webp|bmp)$/.test(file.type)) {
      complain(new Error(`${file.name}: expected a JPEG, PNG, WebP or BMP picture.`));
    } else if (file.size > served.limits.bytes) {
      complain(new Error(`${file.name} has ${megabytes(file.size)}, at most ${megabytes(served.limits.bytes)} are taken.`));
    } else {
      const element = el("card").content.firstElementChild.cloneNode(true);
      const card = { file, url: URL.createObjectURL(file), element, panes: [], hidden: new Set() };
      element.querySelector("h2").textContent = file.name;
      element.onclick = (event) => perform(card, event.target.closest("[data-do]")?.dataset.do);
      cards.unshift(card);
      el("cards").prepend(element);
    }
  }
  el("drop").classList.toggle("small", cards.length > 0);
  refresh();
  if (cards.length && innerWidth < NARROW) cards[0].element.scrollIntoView();
}

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

// Brings every card to the choice of names; draws what is known, asks for what is not.
function refresh() {
  const choices = [0, 1].map(choiceOf).filter(Boolean);
  for (const card of cards) {
    while (card.panes.length > choices.length) card.panes.pop().element.remove();
    while (card.panes.length < choices.length) card.panes.push(newPane(card));
    card.panes.forEach((pane, index) => show(card, pane, choices[index]));
  }
  resize(); // one pane beside another has less room
}

function newPane(card) {
  const element = el("pane").content.firstElementChild.cloneNode(true);
  const image = element.querySelector("img");
  image.src = card.url;
  image.alt = card.file.name;
  if (!served.exif_orientation) image.style.imageOrientation = "none";
  image.onload = () => { fit(element); card.panes.forEach((pane) => draw(card, pane)); };
  card.element.querySelector(".panes").append(element);
  return { element, answer: null, key: "", shown: [] };
}

async function show(card, pane, choice) {
  const key = JSON.stringify(choice);
  if (pane.key === key) return;
  pane.key = key;
  pane.element.classList.add("working");
  try {
    const answer = await detect(card.file, choice);
    if (pane.key !== key) return; // somebody has chosen other names meanwhile
    pane.answer = answer;
    pane.title = choice.vocabulary || "my names";
    pane.boxes = null;
    settle();
    draw(card, pane);
  } catch (error) {
    if (pane.key === key) { pane.key = ""; complain(error, choice); }
  } finally {
    if (pane.key === key || !pane.key) pane.element.classList.remove("working");
  }
}

function fit(element) {
  const view = element.querySelector(".view"), canvas = element.querySelector(".canvas"), image = element.querySelector("img");
  if (!image.naturalWidth) return;
  const room = Math.min(view.clientWidth / image.naturalWidth, (innerHeight * 0.7) / image.naturalHeight);
  const scale = Math.min(room, 4) * Number(el("zoom").value);
  // what was in the middle stays there
  const around = view.getBoundingClientRect(), before = canvas.getBoundingClientRect();
  const x = (around.left + view.clientWidth / 2 - before.left) / (before.width || 1);
  const y = (around.top + view.clientHeight / 2 - before.top) / (before.height || 1);
  canvas.style.width = `${image.naturalWidth * scale}px`;
  canvas.style.height = `${image.naturalHeight * scale}px`;
  view.scrollLeft = x * canvas.offsetWidth - view.clientWidth / 2;
  view.scrollTop = y * canvas.offsetHeight - view.clientHeight / 2;
}

// -------------------------------------------------------------------------------------------------------- drawing

const BUNDLE = 0.6; // intersection over union of nearly equal boxes

function alike(one, other) {
  const [ax, ay, aw, ah] = one.bbox, [bx, by, bw, bh] = other.bbox;
  const width = Math.min(ax + aw, bx + bw) - Math.max(ax, bx), height = Math.min(ay + ah, by + bh) - Math.max(ay, by);
  const common = Math.max(width, 0) * Math.max(height, 0);
  return common / Math.max(aw * ah + bw * bh - common, 1e-9) > BUNDLE;
}

// Of an answer's annotations, which are by falling score, those that the sliders let through.
function chosen(card, pane) {
  const least = Number(el("threshold").value), most = Number(el("top").value), found = [];
  for (const one of pane.answer.annotations) {
    if (one.score < least || found.length === most) break;
    if (!el("distinct").checked || !found.some((other) => alike(one, other))) found.push(one);
  }
  return found;
}

function draw(card, pane) {
  if (!pane.answer) return;
  const { width, height } = pane.answer.images[0];
  const svg = pane.element.querySelector("svg"), tags = pane.element.querySelector(".tags");
  const found = chosen(card, pane), shown = found.filter((one) => !card.hidden.has(one.name));
  drawBoxes(svg, shown, width, height);
  tags.replaceChildren(...labels(shown, tags, width, height, (one) => `${one.name} ${one.score.toFixed(2)}`));
  pane.shown = shown;
  const all = pane.answer.annotations.length;
  pane.element.querySelector("figcaption").textContent = `${pane.title}: ${shown.length} shown of ${all} found`;
  legend(card, pane, found);
}

function legend(card, pane, found) {
  const counts = new Map();
  for (const one of found) counts.set(one.name, (counts.get(one.name) || 0) + 1);
  const place = pane.element.querySelector(".legend");
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  place.replaceChildren(...[...counts].map(([name, count]) => {
    const button = make("button", "", { type: "button" });
    const colour = make("i");
    colour.style.background = colourOf(name).css;
    button.append(colour, name, make("b", String(count)));
    button.dataset.name = name;
    button.setAttribute("aria-pressed", String(!card.hidden.has(name)));
    button.onclick = () => {
      if (!card.hidden.delete(name)) card.hidden.add(name);
      card.panes.forEach((one) => draw(card, one));
    };
    return button;
  }));
  if (focused !== null) [...place.children].find((one) => one.dataset.name === focused)?.focus();
}

function resize() {
  document.querySelectorAll(".pane").forEach(fit);
  drawAll();
}

function drawAll() {
  el("threshold").previousElementSibling.textContent = Number(el("threshold").value).toFixed(2);
  el("top").previousElementSibling.textContent = `${el("top").value} boxes`;
  el("zoom").previousElementSibling.textContent = `${Number(el("zoom").value)}×`;
  for (const card of cards) card.panes.forEach((pane) => draw(card, pane));
}

// ------------------------------------------------------------------------------------------------------ downloads

function perform(card, what) {
  if (what === "remove") {
    cards.splice(cards.indexOf(card), 1);
    card.element.remove();
    URL.revokeObjectURL(card.url);
    el("drop").classList.toggle("small", cards.length > 0);
    el("choose").focus();
  } else if (what) {
    for (const pane of card.panes.filter((one) => one.answer)) {
      const stem = card.file.name.replace(/\.[^.]*$/, "") + (card.panes.length > 1 ? `.${pane.title}` : "");
      if (what === "json") save(`${stem}.json`, new Blob([pane.answer.text], { type: "application/json" }));
      if (what === "csv") save(`${stem}.csv`, new Blob([csv(card, pane)], { type: "text/csv" }));
      if (what === "picture") picture(pane).then((blob) => save(`${stem}.png`, blob));
    }
  }
}

function save(name, blob) {
  const link = make("a", "", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function csv(card, pane) {
  // a text that a spreadsheet would take for a formula stays a text
  const cell = (text) => `"${String(text).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
  const rows = pane.shown.map((one) => [cell(card.file.name), cell(one.name), one.score, ...one.bbox].join(","));
  return ["file,name,score,x,y,width,height", ...rows, ""].join("\n");
}

async function picture(pane) {
  const image = pane.element.querySelector("img"), canvas = make("canvas");
  const scale = Math.max(1, 960 / Math.max(image.naturalWidth, image.naturalHeight));
  canvas.width = image.naturalWidth * scale;
  canvas.height = image.naturalHeight * scale;
  const context = canvas.getContext("2d"), letter = Math.max(12, Math.sqrt(canvas.width * canvas.height) / 45);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  context.font = `600 ${letter}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const one of [...pane.shown].reverse()) {
    const [x, y, w, h] = one.bbox.map((edge) => edge * scale), colour = colourOf(one.name);
    for (const [style, thick] of [["#000a", letter / 3.5], [colour.css, letter / 6]]) {
      context.strokeStyle = style;
      context.lineWidth = thick;
      context.strokeRect(x, y, w, h);
    }
    const text = `${one.name} ${one.score.toFixed(2)}`, long = context.measureText(text).width + letter * 0.6;
    const left = Math.max(0, Math.min(x, canvas.width - long)), top = Math.max(0, y - letter * 1.3);
    context.fillStyle = colour.css;
    context.fillRect(left, top, long, letter * 1.3);
    context.fillStyle = colour.ink;
    context.fillText(text, left + letter * 0.3, top + letter * 0.15);
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

// -------------------------------------------------------------------------------------------------------- messages

const settle = () => el("problem").replaceChildren();

function complain(error, choice = null) {
  settle();
  el("problem").append(make("p", error.message));
  for (const [name, nearest] of Object.entries(error.nearest || {})) {
    const row = make("div", "", { className: "row" });
    row.append(make("span", nearest.length ? `Instead of “${name}”:` : `“${name}” resembles no known name.`));
    for (const other of [...nearest, null]) {
      const button = make("button", other === null ? `without ${name}` : other, { type: "button" });
      button.onclick = () => {
        const place = typed.indexOf(name);
        if (place >= 0) typed.splice(place, 1, ...(other === null || typed.includes(other) ? [] : [other]));
        settle();
        namesChanged(true);
      };
      row.append(button);
    }
    el("problem").append(row);
  }
  if (choice === null || error.nearest) return;
  const again = make("button", "Try again", { type: "button" });
  again.onclick = () => { settle(); refresh(); };
  el("problem").append(again);
}

// ---------------------------------------------------------------------------------------------------------- start

async function start() {
  try {
    served = JSON.parse(await ask("vocabulary"));
  } catch (error) {
    if (el("locked").hidden) complain(error);
    else if (token) complain(new Error("This is not the server's token."));
    return;
  }
  el("locked").hidden = true;
  el("controls").hidden = el("drop").hidden = false;
  settle();
  known = [...new Set(served.vocabularies.flatMap((one) => one.names))];
  el("naming").hidden = !served.takes_names;
  el("report").hidden = !served.report;
  if (served.report) el("report").href = served.report.slice(1);
  el("limits").textContent = `JPEG, PNG, WebP or BMP, up to ${megabytes(served.limits.bytes)}`;
  el("example").textContent =
    `curl -F image=@photo.jpg -F names=cat -F "names=red star" ${token ? '-H "Authorization: Bearer TOKEN" ' : ""}` +
    new URL("detect", location.href.replace(/#.*/, ""));
  fillSelect(0);
  fillSelect(1);
  drawAll();
}

el("locked").onsubmit = (event) => { event.preventDefault(); token = el("token").value; start(); };
el("choose").onclick = () => el("files").click();
el("files").onchange = (event) => { addFiles(event.target.files); event.target.value = ""; };
el("name").oninput = complete;
el("name").onkeydown = (event) => {
  if ((event.key === "Enter" || event.key === ",") && el("name").value.trim()) {
    event.preventDefault();
    addNames(el("name").value);
    el("name").value = "";
    complete();
  } else if (event.key === "Backspace" && !el("name").value && typed.length) {
    typed.pop();
    namesChanged(false);
  }
};
for (const side of [0, 1]) el(`vocabulary-${side}`).onchange = refresh;
for (const id of ["threshold", "top", "distinct"]) el(id).oninput = drawAll;
el("zoom").oninput = resize;
addEventListener("resize", resize);
addEventListener("paste", (event) => {
  if (served && event.clipboardData.files.length) { event.preventDefault(); addFiles(event.clipboardData.files); }
});
addEventListener("dragover", (event) => { event.preventDefault(); el("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) el("drop").classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  el("drop").classList.remove("over");
  if (served) addFiles(event.dataTransfer.files);
});
start();
