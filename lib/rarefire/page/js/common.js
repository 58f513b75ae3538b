// What the book's widgets share: decoding, similarities in a prefix of features, small pieces of page.
// It stands before the widget's own code. Everything is computed here, from the numbers in the page.

// --- numbers that travel in the page ---

function numbers(view, Kind) {
  return new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

// --- similarities: the same steps as rarefire._engine.grams.residuals and rarefire._engine.pairs ---

// Rows whose prefixes' dot products are co-moments (Pearson) or dot products (cosine), and
// 1 / norm of every prefix: exactly 0 as long as the image has no defined similarity.
function residuals(embedding, n, p, order, metric) {
  const rows = n + (n % 2); // even, for pairs of rows below
  const h = new Float64Array(rows * p), scale = new Float64Array(rows * p);
  for (let i = 0; i < n; i++) {
    const row = i * p, shift = metric === "correlation" ? embedding[row + order[0]] : 0;
    let sum = 0, squares = 0;
    for (let f = 0; f < p; f++) {
      let x = embedding[row + order[f]] - shift;
      if (metric === "correlation" && f) {
        const centred = (x - sum / f) * Math.sqrt(f / (f + 1));
        sum += x;
        x = centred;
      }
      h[row + f] = x;
      squares += x * x;
      scale[row + f] = squares > 0 ? 1 / Math.sqrt(squares) : 0;
    }
  }
  return { h, scale, n, p, rows };
}

// All similarities in the first k features, (n, n) in row order; NaN where undefined.
function similarities({ h, scale, n, p, rows }, k, out) {
  const norm = i => scale[i * p + k - 1];
  const put = (i, j, dot) => {
    if (i >= n || j >= n) return;
    const s = norm(i) * norm(j);
    out[i * n + j] = out[j * n + i] = s > 0 ? Math.max(-1, Math.min(1, dot * s)) : NaN;
  };
  for (let i = 0; i < rows; i += 2) {
    for (let j = i; j < rows; j += 2) {
      let a = i * p, b = a + p, c = j * p, d = c + p, ac = 0, ad = 0, bc = 0, bd = 0;
      for (const end = a + k; a < end; a++, b++, c++, d++) {
        const x = h[a], y = h[b], u = h[c], v = h[d];
        ac += x * u; ad += x * v; bc += y * u; bd += y * v;
      }
      put(i, j, ac); put(i, j + 1, ad); put(i + 1, j, bc); put(i + 1, j + 1, bd);
    }
  }
  for (let i = 0; i < n; i++) out[i * n + i] = norm(i) > 0 ? 1 : NaN;
  return out;
}

// --- pieces of page ---

// Of a file that the page makes; URL.revokeObjectURL lets go of it.
const address = (content, type) => URL.createObjectURL(new Blob([content], { type }));

// An element; children are elements or text. In `attributes`, functions are event listeners.
function element(tag, attributes = {}, ...children) {
  const [space, name] = tag.startsWith("svg:") ? ["http://www.w3.org/2000/svg", tag.slice(4)] : ["http://www.w3.org/1999/xhtml", tag];
  const made = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const svgText = (x, y, content, anchor) => element("svg:text", { x, y, "text-anchor": anchor }, content);

// Of an axis from 0 to at least `most`, in at most five steps of 1, 2 or 5 and zeros.
function fromZero(most) {
  let step = 10 ** Math.floor(Math.log10(most / 5) + 1e-9), digits = Math.max(0, -Math.round(Math.log10(step)));
  for (const factor of [2, 2.5, 2]) if (most / step > 5 + 1e-9) step *= factor;
  return { digits, values: Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step) };
}

// Dissimilarities (n, n) between `low` and `high` as the pixels of a canvas, in 256 RGB colours; NaN is left empty.
function paintMatrix(pen, dissimilarity, [low, high], colours) {
  const n = Math.sqrt(dissimilarity.length), pixels = pen.createImageData(n, n), out = pixels.data, to = 255 / (high - low);
  for (let c = 0; c < dissimilarity.length; c++) {
    const v = dissimilarity[c];
    if (v !== v) continue;
    const colour = 3 * Math.min(255, Math.max(0, Math.round((v - low) * to)));
    out[4 * c] = colours[colour]; out[4 * c + 1] = colours[colour + 1]; out[4 * c + 2] = colours[colour + 2];
    out[4 * c + 3] = 255;
  }
  pen.putImageData(pixels, 0, 0);
}

// CSS: the same colours from left to right.
function gradient(colours) {
  const stops = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(i => `rgb(${colours.slice(3 * Math.round((255 * i) / 8), 3 * Math.round((255 * i) / 8) + 3)})`);
  return `background:linear-gradient(90deg,${stops})`;
}

// JupyterLab takes arrow keys for itself unless the element that has the focus says otherwise.
const OWN_KEYS = { "data-lm-suppress-shortcuts": "true" };

// The slider says its value itself: an output beside it need not be read out once more.
const QUIET = { "aria-live": "off" };

// JupyterLab loads this once for each widget: a count alone would repeat itself on the page.
const loaded = Math.random().toString(36).slice(2, 8);
let named = 0;
const unique = stem => `rf-${loaded}-${stem}-${++named}`;

function slider(title, attributes) {
  const id = unique("slider"), value = element("output", { for: id, ...QUIET });
  const input = element("input", { type: "range", id, step: 1, ...OWN_KEYS, ...attributes });
  // A finger that lands on the slider and scrolls the page puts it back where it was.
  let before = null;
  input.addEventListener("pointerdown", () => { before = input.value; }, true);
  input.addEventListener("pointercancel", () => {
    input.value = before;
    input.dispatchEvent(new Event("input"));
  });
  const box = element("div", { class: "rf-slider" }, element("label", { for: id }, title), value, input);
  return { box, input, value };
}

// Call `moved` with the place along `box`, from 0 to 1, that is clicked, dragged to or tapped. A finger
// that scrolls the page past it changes nothing. Where `pick` finds something at an event, a click or a tap calls
// what it returns instead.
function dragged(box, moved, pick = () => null) {
  let start = null, sideways = false, far = false, picked = null;
  const tell = event => {
    const area = box.getBoundingClientRect();
    moved((event.clientX - area.left) / area.width);
  };
  box.addEventListener("pointerdown", event => {
    start = [event.clientX, event.clientY];
    sideways = event.pointerType === "mouse";
    far = false;
    box.setPointerCapture(event.pointerId);
    picked = pick(event);
    if (sideways && !picked) tell(event);
  });
  box.addEventListener("pointermove", event => {
    if (!start) return;
    const [dx, dy] = [Math.abs(event.clientX - start[0]), Math.abs(event.clientY - start[1])];
    far ||= dx > 6 || dy > 6;
    sideways ||= dx > 6 && dx > dy;
    if (sideways && (far || !picked)) tell(event);
  });
  box.addEventListener("pointerup", event => {
    if (start && !far && picked) picked();
    else if (start && !far && !sideways) tell(event); // a tap
    start = null;
  });
  box.addEventListener("pointercancel", () => { start = null; });
}

// A choice of one of a few: radio buttons in a row.
function choice(title, options, chosen, { swatches = false } = {}) {
  const name = unique("choice"), inputs = {};
  const box = element("fieldset", { class: "rf-choice" }, element("legend", {}, title));
  for (const [value, label] of Object.entries(options)) {
    inputs[value] = element("input", { type: "radio", name, value, ...OWN_KEYS, change: () => chosen(value) });
    const swatch = swatches ? [element("i", { class: `rf-swatch rf-${value}` })] : [];
    box.append(element("label", {}, inputs[value], element("span", {}, ...swatch, label)));
  }
  return { box, show(value) { if (inputs[value]) inputs[value].checked = true; } };
}

function menu(title, chosen) {
  const input = element("select", { ...OWN_KEYS, change: () => chosen(+input.value) });
  const box = element("label", { class: "rf-menu" }, element("span", {}, title), input);
  let shown = "";
  return {
    box,
    show(labels, index) {
      if (shown !== (shown = JSON.stringify(labels)))
        input.replaceChildren(...labels.map((label, i) => element("option", { value: i }, label)));
      input.value = index;
      box.hidden = labels.length < 2;
    },
  };
}

// A link that makes its table when it is clicked: rows of the same keys -> CSV.
function download(name, rows, label = "Numbers (CSV)") {
  const link = element("a", { class: "rf-numbers", href: "#", download: `${name}.csv`, click() {
    const table = rows(), keys = Object.keys(table[0]);
    const cell = value => (value !== value ? "" : /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const line = row => keys.map(key => cell(row[key])).join(",");
    const text = [keys.join(","), ...table.map(line)].join("\n") + "\n";
    link.href = address(text, "text/csv");
    setTimeout(url => URL.revokeObjectURL(url), 60000, link.href);
  } }, label);
  return link;
}

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}\u00a0%`;
const shortly = (value, digits = 3) => (value === value ? value.toFixed(digits).replace("-", "−") : "–");

// Put the widget's root into `el`: with its caption where the page does not have it, redrawn at most
// once a frame when one of the `traits` changes. Returns what undoes it.
function mount({ model, el }, root, traits, draw) {
  root.classList.add("rf-widget");
  el.append(root);
  if (!el.closest("figure")) root.append(Object.assign(element("p"), { innerHTML: model.get("caption") }));
  let waiting = 0;
  const now = () => {
    waiting = 0;
    const start = performance.now();
    draw();
    performance.clearMeasures("rarefire:draw");
    performance.measure("rarefire:draw", { start, end: performance.now() });
  };
  const soon = () => { waiting ||= requestAnimationFrame(now); };
  const events = traits.map(name => `change:${name}`);
  for (const event of events) model.on(event, soon);
  now();
  return () => {
    cancelAnimationFrame(waiting);
    for (const event of events) model.off(event, soon);
    root.remove();
  };
}

function set(model, changes) {
  for (const [name, value] of Object.entries(changes)) model.set(name, value);
  model.save_changes();
}
