// The pruning explorer; rarefire.explorer says what it shows and what travels in the page.

const ORDERS = { low: "low→high PoZ", high: "high→low PoZ", random: "random" };
const METRICS = { correlation: "Pearson", cosine: "cosine" };
const REFERENCES = { network: "all features", people: "people" };
const VIEWS = { matrices: "matrices", maps: "maps" };
const WHICH = { low: "most active", high: "rarest", random: "randomly chosen" };

// --- one image set seen by one network ---

class Scene {
  constructor(given, sprites) {
    Object.assign(this, given);
    [this.n, this.p] = given.shape;
    this.poz = numbers(given.poz, Float32Array);
    this.labels = numbers(given.labels, Uint16Array);
    this.ghosts = numbers(given.ghosts, Uint8Array); // (categories, p)
    if (given.kind === "u1") {
      const steps = numbers(given.steps, Float32Array), codes = numbers(given.embedding, Uint8Array);
      this.embedding = Float64Array.from(codes, (code, i) => code * steps[i % this.p]);
    } else this.embedding = given.kind === "f2" ? float16(given.embedding)
      : numbers(given.embedding, given.kind === "f4" ? Float32Array : Float64Array);
    this.order = Object.fromEntries(Object.entries(given.orders).map(([name, order]) => [name, numbers(order, Uint16Array)]));
    this.known = new Map();
    this.sprite = sprites[given.sprite] ?? null;
  }

  // Computed once.
  once(key, compute) {
    if (!this.known.has(key)) this.known.set(key, compute());
    return this.known.get(key);
  }

  geometry(order, metric) {
    return this.once(`geometry ${order} ${metric}`, () =>
      residuals(this.embedding, this.n, this.p, this.order[order], metric));
  }

  // Dissimilarities (n, n): of all features, or people's.
  full(metric) {
    return this.once(`full ${metric}`, () =>
      similarities(this.geometry("low", metric), this.p, new Float64Array(this.n ** 2)).map(s => 1 - s));
  }

  // Standardised; `scale` holds the mean and the standard deviation that they had.
  people() {
    return this.once("people", () => {
      const condensed = numbers(this.human, Float32Array), square = new Float64Array(this.n ** 2);
      for (let i = 0, c = 0; i < this.n; i++) {
        square[i * this.n + i] = -Infinity; // nothing is more like an image than itself
        for (let j = i + 1; j < this.n; j++) square[i * this.n + j] = square[j * this.n + i] = condensed[c++];
      }
      return square;
    });
  }

  // Lengths, for a map: all features' dissimilarities, or people's, in units of their standard deviation.
  lengths(name, metric) {
    if (name !== "people") return this.full(metric);
    return this.once("lengths", () => {
      const shift = Math.max(this.scale[0] / this.scale[1], -range(this.people(), this.n)[0]); // none is negative
      return this.people().map(v => v + shift);
    });
  }

  judged(place) { // on people's own scale
    return this.scale[0] + this.scale[1] * this.people()[place];
  }

  get gaps() { // pairs that nobody judged
    return this.once("gaps", () => this.people().some(v => v !== v));
  }

  reference(name, metric) {
    return this.once(`reference ${name} ${metric}`, () => (name === "people" ? this.people() : this.full(metric)).map(d => -d));
  }

  curve(order, metric, name) {
    return this.once(`curve ${order} ${metric} ${name}`, () =>
      nestedCurve(this.geometry(order, metric), this.reference(name, metric)));
  }

  hasCurve(order, metric, name) {
    return this.known.has(`curve ${order} ${metric} ${name}`);
  }

  // Runs of images of one category: [first, how many].
  categories() {
    const starts = [...this.labels.keys()].filter(i => !i || this.labels[i] !== this.labels[i - 1]);
    return starts.map((start, c) => [start, (starts[c + 1] ?? this.n) - start]);
  }

  name(image) {
    return this.names[this.labels[image]] ?? `image ${image + 1}`;
  }

  // A single one of its category.
  title(image) {
    return this.names.length ? `${this.name(image)} (image ${image + 1})` : this.name(image);
  }

  // Put an image on a canvas, once it is there.
  stamp(pen, image, x, y, width, height) {
    if (!this.sprite?.sheet.complete) return;
    const { sheet, tile: [w, h], columns } = this.sprite;
    pen.drawImage(sheet, (image % columns) * w, Math.floor(image / columns) * h, w, h, x, y, width, height);
  }
}

// --- pointing at images ---

// With a mouse, a finger or keys, on a canvas. `under` is the cell (or null) at an event, `go` where a key
// leads; `look` is called with a cell (or null) that is pointed at, or one that is to stay.
function pointing(canvas, look, under, go) {
  const state = { at: [0, 0], kept: null };
  canvas.addEventListener("pointermove", event => { if (event.pointerType === "mouse") look(under(event), false); });
  canvas.addEventListener("pointerleave", () => look(null, false));
  // A second click on the same cell lets it go.
  canvas.addEventListener("click", event => {
    const cell = under(event);
    look(String(cell) === String(state.kept) ? null : cell, true);
  });
  canvas.addEventListener("focus", () => { if (canvas.matches(":focus-visible")) look(state.at, true); });
  canvas.addEventListener("keydown", event => {
    const to = go(event.key, state.at, event.ctrlKey ? 10 : 1);
    if (event.key === "Escape") look(null, true);
    if (!to) return;
    event.preventDefault();
    look(to, true);
  });
  return state;
}

function panel(kind, ...more) {
  const canvas = element("canvas", { tabindex: 0, role: "application", "aria-roledescription": kind, ...OWN_KEYS });
  const title = element("b"), mark = element("span", { class: "rf-mark", hidden: true });
  const box = element("div", { class: `rf-heat rf-${kind}` }, title, element("div", {}, canvas, mark), ...more);
  return { canvas, title, mark, box, pen: canvas.getContext("2d") };
}

// --- an RDM ---

function heatMap(colours, look) {
  const { canvas, title, mark, box, pen } = panel("matrix");
  let n = 0, pixels = null;
  const within = v => Math.min(n - 1, Math.max(0, v));

  const pointer = pointing(canvas, look, event => {
    const area = canvas.getBoundingClientRect();
    const index = (offset, size) => within(Math.floor((offset / size) * n));
    return [index(event.clientY - area.top, area.height), index(event.clientX - area.left, area.width)];
  }, (key, [i, j], far) => ({
    ArrowUp: [i - far, j], ArrowDown: [i + far, j], ArrowLeft: [i, j - far], ArrowRight: [i, j + far],
    PageUp: [i - 10, j], PageDown: [i + 10, j], Home: [i, 0], End: [i, n - 1],
  }[key]?.map(within)));

  return {
    box,
    // Dissimilarities (n, n) between `low` and `high`; NaN is left empty.
    paint(dissimilarity, low, high, name, description) {
      if (n ** 2 !== dissimilarity.length) {
        n = canvas.width = canvas.height = Math.sqrt(dissimilarity.length);
        pointer.at = [0, 0];
        pixels = pen.createImageData(n, n);
      }
      title.textContent = name;
      canvas.setAttribute("aria-label", description);
      const to = 255 / (high - low), out = pixels.data;
      for (let c = 0; c < dissimilarity.length; c++) {
        const v = dissimilarity[c];
        if (v !== v) { out[4 * c + 3] = 0; continue; }
        const colour = 3 * Math.min(255, Math.max(0, Math.round((v - low) * to)));
        out[4 * c] = colours[colour]; out[4 * c + 1] = colours[colour + 1]; out[4 * c + 2] = colours[colour + 2];
        out[4 * c + 3] = 255;
      }
      pen.putImageData(pixels, 0, 0);
    },
    mark(cell, stays) {
      pointer.kept = stays;
      mark.hidden = !cell;
      if (!cell) return;
      pointer.at = cell;
      mark.style = `top:${(100 * cell[0]) / n}%;left:${(100 * cell[1]) / n}%;width:${100 / n}%;height:${100 / n}%`;
    },
  };
}

// --- a map: classical scaling (Torgerson) into the plane, as rarefire.rdm.mds ---

const FOLLOWED = 8; // vectors: the first two are found in few steps when others are followed beside them

// Places [x, y] of n images whose distances stand for the dissimilarities (n, n); NaN for images that have
// none. A missing pair takes the mean of its two images' own means. `start` is the basis of an earlier map.
function scaling(d, n, start) {
  const means = Array.from({ length: n }, (_, i) => {
    let m = 0, sum = 0;
    for (let j = 0; j < n; j++) {
      const v = d[i * n + j];
      if (j !== i && v === v) { m++; sum += v; }
    }
    return sum / m;
  });
  const there = [...means.keys()].filter(i => means[i] === means[i]), m = there.length;
  const places = means.map(() => [NaN, NaN]);
  if (m < 3) return { places, m, basis: null };

  // Squares, centred twice. Off the diagonal their mean is taken out first: it adds the same to every
  // eigenvalue, and the largest stand out more without it.
  const b = new Float64Array((n + 1) * n), rows = new Float64Array(n);
  for (const i of there)
    for (const j of there) {
      const v = d[i * n + j];
      if (i !== j) rows[i] += b[i * n + j] = -((v === v ? v : (means[i] + means[j]) / 2) ** 2) / 2;
    }
  const mean = rows.reduce((sum, v) => sum + v) / (m * (m - 1));
  for (const i of there)
    for (const j of there)
      b[i * n + j] = (i === j ? 0 : b[i * n + j] - mean) - (rows[i] + rows[j]) / m + (2 * mean * (m - 1)) / m;

  // Subspace iteration with Rayleigh–Ritz steps.
  const size = Math.min(FOLLOWED, m - 1);
  let x = start?.length === size ? start : Array.from({ length: size }, (_, c) => Float64Array.from(means, (_, i) => Math.sin((c + 1) * (i + 1) ** 2)));
  x = x.map(column => {
    const middle = there.reduce((all, i) => all + column[i], 0) / m;
    return column.map((v, i) => (means[i] === means[i] ? v - middle : 0));
  });
  for (let step = 0, lift = 0; ; step++) {
    orthonormal(x);
    const y = x.map(column => product(b, column));
    const found = eigen(x.map(a => y.map(c => dot(a, c))));
    const turned = columns => found.map(({ weights }) => sum(columns, weights));
    const q = turned(x), z = turned(y), largest = found[0].value;
    const off = [0, 1].map(c => sum([z[c], q[c]], [1, -found[c].value]));
    if (step === 200 || Math.max(...off.map(v => dot(v, v))) <= 1e-10 * largest ** 2) {
      for (const i of there) places[i] = [0, 1].map(c => q[c][i] * Math.sqrt(Math.max(0, found[c].value - mean)));
      return { places, m, basis: q };
    }
    lift = Math.max(lift, 0.05 * largest, -found.at(-1).value); // what is negative is not to win by its size
    x = z.map((column, c) => sum([column, q[c]], [1, lift]));
  }
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function sum(vectors, weights) {
  const all = new Float64Array(vectors[0].length);
  for (let c = 0; c < vectors.length; c++) {
    const vector = vectors[c], w = weights[c];
    for (let i = 0; i < all.length; i++) all[i] += w * vector[i];
  }
  return all;
}

// Of a symmetric matrix, with a row of 0 more, and a vector: two rows at a time.
function product(b, x) {
  const n = x.length, y = new Float64Array(n);
  for (let j = 0; j < n; j += 2) {
    const v = x[j], w = j + 1 < n ? x[j + 1] : 0;
    for (let i = 0, c = j * n, d = c + n; i < n; i++, c++, d++) y[i] += v * b[c] + w * b[d];
  }
  return y;
}

function orthonormal(x) {
  x.forEach((column, c) => {
    const before = Math.sqrt(dot(column, column));
    for (const other of x.slice(0, c)) {
      const along = dot(column, other);
      for (let i = 0; i < column.length; i++) column[i] -= along * other[i];
    }
    const norm = Math.sqrt(dot(column, column)), by = norm > 1e-9 * before ? 1 / norm : 0;
    for (let i = 0; i < column.length; i++) column[i] *= by;
  });
}

// Of a small symmetric matrix, the largest first: Jacobi's rotations.
function eigen(t) {
  const k = t.length, u = t.map((_, i) => t.map((_, j) => +(i === j)));
  for (let sweep = 0; sweep < 12; sweep++)
    for (let p = 0; p < k; p++)
      for (let q = p + 1; q < k; q++) {
        if (Math.abs(t[p][q]) <= 1e-15 * Math.abs(t[0][0])) continue;
        const angle = Math.atan2(2 * t[p][q], t[q][q] - t[p][p]) / 2, cos = Math.cos(angle), sin = Math.sin(angle);
        const turn = (a, at, b, to) => {
          const v = a[at], w = b[to];
          a[at] = cos * v - sin * w;
          b[to] = sin * v + cos * w;
        };
        for (let i = 0; i < k; i++) { turn(t[i], p, t[i], q); turn(u[i], p, u[i], q); }
        for (let i = 0; i < k; i++) turn(t[p], i, t[q], i);
      }
  return t.map((row, c) => ({ value: row[c], weights: u.map(row => row[c]) })).sort((a, b) => b.value - a.value);
}

// The largest coordinate of each dimension is positive.
function signed(places) {
  const signs = [0, 1].map(c => Math.sign(places.reduce((most, at) => (Math.abs(at[c]) > Math.abs(most) ? at[c] : most), 0)) || 1);
  return places.map(at => at.map((v, c) => v * signs[c]));
}

// Turned, mirrored, moved and scaled to lie on `target` (Procrustes), both as widely spread.
function onto(places, target) {
  const both = [...places.keys()].filter(i => places[i][0] === places[i][0] && target[i][0] === target[i][0]);
  const [a, b] = [places, target].map(of => [0, 1].map(c => both.reduce((all, i) => all + of[i][c], 0) / both.length));
  let [xx, xy, yx, yy, own, other] = [0, 0, 0, 0, 0, 0];
  for (const i of both) {
    const [x, y] = places[i].map((v, c) => v - a[c]), [u, v] = target[i].map((w, c) => w - b[c]);
    xx += x * u; xy += x * v; yx += y * u; yy += y * v;
    own += x * x + y * y; other += u * u + v * v;
  }
  const flip = Math.hypot(xx - yy, xy + yx) > Math.hypot(xx + yy, xy - yx) ? -1 : 1;
  const angle = Math.atan2(xy - flip * yx, xx + flip * yy), by = own > 0 && other > 0 ? Math.sqrt(other / own) : 1;
  const [cos, sin] = [by * Math.cos(angle), by * Math.sin(angle)];
  return places.map(place => {
    const x = place[0] - a[0], y = flip * (place[1] - a[1]);
    return [b[0] + cos * x - sin * y, b[1] + sin * x + cos * y];
  });
}

// Squared correlation of the distances in a map with the dissimilarities that they stand for.
function shown(places, d, n) {
  const far = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n; j++) far[i * n + j] = Math.hypot(places[i][0] - places[j][0], places[i][1] - places[j][1]);
  return agreement(far, d, n) ** 2;
}

// Of categories: six colours that the colour-blind can tell apart, in two shapes. On light and on dark.
const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"], RIM = "#777";
const CATEGORIES = 2 * PALETTE.length;
const dress = category => ({ colour: PALETTE[category % 6], square: category % CATEGORIES >= 6 });
const bullet = category => `background:${dress(category).colour};border-radius:${dress(category).square ? 0 : "50%"}`;

function imageMap(look) {
  const note = element("small"), near = element("span", { class: "rf-mark rf-near", hidden: true });
  const { canvas, title, mark, box, pen } = panel("map", note);
  mark.before(near);
  let s = null, places = [], middle = [0, 0], half = 1, size = 0, tile = 0, at = [], marked = [];

  const pointer = pointing(canvas, look, event => {
    const area = canvas.getBoundingClientRect(), x = event.clientX - area.left, y = event.clientY - area.top;
    let nearest = -1, least = 20;
    at.forEach(([u, v], i) => {
      const far = Math.hypot(x - u, y - v);
      if (far <= least) [nearest, least] = [i, far];
    });
    return nearest < 0 ? null : [nearest, nearest];
  }, (key, [i], far) => {
    const by = { ArrowUp: -far, ArrowLeft: -far, ArrowDown: far, ArrowRight: far, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity }[key];
    return by && Array(2).fill(Math.min(s.n - 1, Math.max(0, i + by)));
  });
  new ResizeObserver(([{ contentRect }]) => {
    size = contentRect.width;
    draw();
  }).observe(canvas);

  // A thumbnail in a frame of its category's colour, or a dot.
  function draw() {
    if (!size || !s) return;
    const width = Math.round(size * devicePixelRatio);
    if (canvas.width !== width) canvas.width = canvas.height = width;
    pen.setTransform(width / size, 0, 0, width / size, 0, 0);
    pen.clearRect(0, 0, size, size);
    tile = Math.min(26, Math.max(13, size / 13));
    const off = places.map(place => place.map((v, c) => v - middle[c])), ready = s.sprite?.sheet.complete, [w, h] = tileOf(tile);
    const by = (size / 2 - tile / 2 - 3) / Math.max(half, ...off.flat().map(v => (v === v ? Math.abs(v) : 0)));
    at = off.map(([x, y]) => [size / 2 + by * x, size / 2 - by * y]);
    at.forEach(([x, y], i) => {
      if (x !== x) return;
      const { colour, square } = dress(s.labels[i]);
      const behind = (style, dx, dy) => {
        pen.fillStyle = style;
        pen.fillRect(x - w / 2 - dx, y - h / 2 - dy, w + 2 * dx, h + 2 * dy);
      };
      if (ready) {
        if (s.names.length > 1) {
          behind(RIM, 2.5, 2.5);
          behind(colour, square ? 0 : 2, 2);
        }
        s.stamp(pen, i, x - w / 2, y - h / 2, w, h);
      } else {
        pen.beginPath();
        if (square) pen.rect(x - 4.5, y - 4.5, 9, 9);
        else pen.arc(x, y, 5, 0, 7);
        Object.assign(pen, { fillStyle: colour, strokeStyle: RIM, lineWidth: 1 }).fill();
        pen.stroke();
      }
    });
    marks();
  }

  const tileOf = longest => {
    const [w, h] = s.sprite?.tile ?? [1, 1], by = longest / Math.max(w, h);
    return [w * by, h * by];
  };

  // An image that is pointed at lies above the others.
  function place(mark, i, times) {
    const [x, y] = at[i] ?? [NaN];
    mark.hidden = x !== x;
    if (mark.hidden) return;
    const [w, h] = tileOf(times * (s.sprite ? tile : 10)), { sheet, columns } = s.sprite ?? {};
    const look = sheet ? `background:url(${sheet.src}) ${-(i % columns) * w}px ${-Math.floor(i / columns) * h}px/${columns * w}px auto` : bullet(s.labels[i]);
    mark.style = `left:${(100 * x) / size}%;top:${(100 * y) / size}%;width:${w}px;height:${h}px;${look}`;
  }

  function marks() {
    if (!size || !s) return;
    place(mark, marked[0], 1.6);
    place(near, marked[1], 1.2);
  }

  return {
    box, draw,
    // `around`: the places that it shall show, in the same scale.
    paint(scene, given, around, name, said) {
      if (s !== scene) [pointer.at, marked] = [[0, 0], []];
      s = scene;
      places = given;
      const ends = [0, 1].map(c => {
        const values = around.map(at => at[c]).filter(v => v === v);
        return [Math.min(...values), Math.max(...values)];
      });
      middle = ends.map(([low, high]) => (low + high) / 2 || 0);
      half = Math.max(0, ...ends.map(([low, high]) => (high - low) / 2)) || 1;
      title.textContent = name;
      note.textContent = said;
      canvas.setAttribute("aria-label", `Map of ${s.n} images, ${name}; what is alike lies close together. ${said}`);
      draw();
    },
    mark(cell, stays, neighbour) {
      pointer.kept = stays;
      if (cell) pointer.at = cell;
      marked = cell ? [cell[0], neighbour] : [];
      marks();
    },
  };
}

// --- the curve, with a marker that can be dragged ---

const PLOT = { left: 34, top: 8, width: 258, height: 120, rug: 9 };

function curvePlot(moved) {
  const { left, top, width, height, rug } = PLOT, bottom = top + height;
  const box = element("svg:svg", { viewBox: "0 0 300 172", role: "img", class: "rf-curve" });
  const at = (share, value, highest) => `${(left + share * width).toFixed(1)} ${(bottom - (value / highest) * height).toFixed(1)}`;
  const text = (x, y, content, anchor) => element("svg:text", { x, y, "text-anchor": anchor }, content);
  const still = element("svg:g"), ticks = element("svg:path", { class: "rf-rug" }), inside = element("svg:path", { class: "rf-rug rf-in" });
  const line = element("svg:path", { class: "rf-cut" }), dot = element("svg:circle", { r: 4.5 });
  box.append(still, ticks, inside, line, dot);
  dragged(box, share => moved((share * 300 - left) / width));
  let now = null;

  return {
    box,
    // `lines`: [order, r² (p)] with the one in use last; `ghosts`: places in that order.
    draw(lines, { highest, ceiling, ghosts, p, ylabel }) {
      now = { highest, ghosts, p, order: lines.at(-1)[0], r2: lines.at(-1)[1] };
      still.replaceChildren();
      for (const share of [0, 0.25, 0.5, 0.75, 1])
        still.append(text(left + share * width, bottom + rug + 16, percent(share), share === 1 ? "end" : "middle"));
      const step = highest > 0.6 ? 0.5 : highest > 0.3 ? 0.2 : highest > 0.12 ? 0.1 : 0.05;
      for (let value = 0; value <= highest + 1e-9; value += step) {
        const y = bottom - (value / highest) * height;
        still.append(element("svg:path", { class: "rf-grid", d: `M${left} ${y}h${width}` }), text(left - 5, y + 3.5, String(+value.toFixed(2)), "end"));
      }
      still.append(text(left + width / 2, bottom + rug + 32, "share of features kept", "middle"));
      still.append(element("svg:text", { class: "rf-ylabel", transform: `translate(9 ${top + height / 2}) rotate(-90)`, "text-anchor": "middle" }, ylabel));
      if (ceiling) {
        const [low, high] = ceiling.map(r => bottom - (r ** 2 / highest) * height);
        still.append(element("svg:rect", { class: "rf-ceiling", x: left, width, y: high, height: Math.max(1, low - high) }),
          text(left + width, high - 3, "noise ceiling", "end"));
      }
      for (const [order, r2] of lines) {
        let d = "", pen = "M";
        for (let k = 1; k <= p; k++) {
          const value = r2[k - 1];
          if (value === value) { d += pen + at(k / p, value, highest); pen = "L"; } else pen = "M";
        }
        still.append(element("svg:path", { class: `rf-line rf-${order}${order === now.order ? " rf-now" : ""}`, d }));
      }
    },
    move(k, description) {
      const { highest, ghosts, p, r2, order } = now, x = left + (k / p) * width, value = r2[k - 1];
      const marks = (places, long) => places.map(place => `M${(left + ((place + 1) / p) * width).toFixed(1)} ${bottom + 2}v${long}`).join("");
      ticks.setAttribute("d", marks(ghosts, (rug - 3) / 2));
      inside.setAttribute("d", marks(ghosts.filter(place => place < k), rug - 3));
      line.setAttribute("d", `M${x} ${top}V${bottom + rug}`);
      dot.setAttribute("class", value === value ? `rf-dot rf-${order}` : "rf-none");
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", bottom - ((value === value ? value : 0) / highest) * height);
      box.setAttribute("aria-label", description);
    },
  };
}

// --- the whole ---

function render({ model, el }) {
  const given = model.get("scenes"), opened = new Map();
  const sprites = model.get("sprites").map(({ file, type, tile, columns }) => {
    const sheet = new Image();
    sheet.onload = () => { for (const map of maps) map.draw(); show(); };
    sheet.src = URL.createObjectURL(new Blob([file], { type }));
    return { sheet, tile, columns };
  });
  const sceneAt = i => { if (!opened.has(i)) opened.set(i, new Scene(given[i], sprites)); return opened.get(i); };
  const scene = () => sceneAt(model.get("scene"));
  const keep = k => set(model, { fraction: Math.min(scene().p, Math.max(1, Math.round(k))) / scene().p });
  const colours = numbers(model.get("colours"), Uint8Array); // 256 × RGB

  const stimuli = [...new Set(given.map(s => s.stimuli))];
  const alike = name => given.flatMap((s, i) => (s.stimuli === name ? [i] : []));
  const images = menu("Images", chosen => {
    const place = alike(scene().stimuli).indexOf(model.get("scene")), there = alike(stimuli[chosen]);
    set(model, { scene: there[Math.min(place, there.length - 1)], category: 0 });
  });
  const networks = menu("Network", chosen => set(model, { scene: alike(scene().stimuli)[chosen] }));
  const order = choice("Order of insertion", ORDERS, value => set(model, { order: value }), { swatches: true });
  const metric = choice("Similarity", METRICS, value => set(model, { metric: value }));
  const reference = choice("Compare with", REFERENCES, value => set(model, { reference: value }));
  const view = choice("Show", VIEWS, value => set(model, { view: value }));
  const share = slider("Features kept", { min: 1, input: () => keep(share.input.valueAsNumber) });

  const edge = element("div", { class: "rf-edge", "aria-hidden": "true" });
  const [left, right] = [heatMap(colours, look), heatMap(colours, look)];
  const stops = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(i => `rgb(${colours.slice(3 * Math.round((255 * i) / 8), 3 * Math.round((255 * i) / 8) + 3)})`);
  const [least, most] = [element("span"), element("span")];
  const lacks = element("span"), none = element("span", { class: "rf-key-none" }, element("i", { class: "rf-undefined" }), lacks);
  const bar = element("div", { class: "rf-bar" }, none, least, element("i", { style: `background:linear-gradient(90deg,${stops})` }), most);
  const maps = [imageMap(look), imageMap(look)], legend = element("div", { class: "rf-kinds" });
  const pictures = [0, 1, 2].map(() => element("canvas", { width: 96, height: 96, "aria-hidden": "true" }));
  const words = element("span", { role: "status", id: unique("words") });
  const detail = element("div", { class: "rf-detail" }, ...pictures, words);

  const r2 = element("output", { class: "rf-r2", ...QUIET }), said = element("span");
  const plot = curvePlot(where => keep(where * scene().p));
  const ghostsOf = menu("ghosts kept (ticks), of", chosen => set(model, { category: chosen }));
  const rows = {
    signed: fact("signed r"), ceiling: fact("noise ceiling of this R²"), poz: fact("PoZ at the cut"), dead: fact("dead features kept"), ghosts: fact(ghostsOf.box),
  };
  const facts = element("dl", {}, ...Object.values(rows).map(row => row.box));

  const matrices = element("div", { class: "rf-heats" }, edge, left.box, right.box);
  const mapped = element("div", { class: "rf-maps" }, ...maps.map(map => map.box), legend);
  const coordinates = element("span", {}, "; the maps: ", download(`${model.get("name")}-maps`, () => [...now.s.labels.keys()].map(i => {
    const [[left_x, left_y], [right_x, right_y]] = now.places.map(of => of[i]);
    return { image: i + 1, category: now.s.names[now.s.labels[i]] ?? "", left_x, left_y, right_x, right_y };
  })));
  const root = element("div", { class: "rf-explorer", role: "group", "aria-label": "Pruning explorer" },
    element("div", { class: "rf-controls" }, images.box, networks.box, order.box, metric.box, reference.box, view.box),
    share.box,
    element("p", { class: "rf-result" }, r2, said),
    matrices, mapped,
    element("div", { class: "rf-under" }, detail, bar),
    element("div", { class: "rf-side" }, plot.box, facts),
    element("p", { class: "rf-foot" }, "Everything here is computed in this page, as you move. The curve in use: ", download(`${model.get("name")}-curve`, table), coordinates));

  let now = {}, cell = null, pinned = null, partial = null, basis = null;

  function draw() {
    const s = scene(), p = s.p, before = now;
    now = {
      ...before, s, k: Math.min(p, Math.max(1, roundHalfEven(model.get("fraction") * p))),
      order: model.get("order"), metric: model.get("metric"), category: Math.min(model.get("category"), s.groups.length - 1),
      against: s.human ? model.get("reference") : "network", view: model.get("view"),
    };
    if (s !== before.s) open(s, before.s);
    similarities(s.geometry(now.order, now.metric), now.k, partial);
    now.r = agreement(partial, s.reference(now.against, now.metric), s.n);
    for (let c = 0; c < partial.length; c++) partial[c] = 1 - partial[c];
    if (["s", "order", "metric", "category", "against", "view"].some(name => now[name] !== before[name])) settle();
    words.setAttribute("aria-live", "off"); // the slider says enough
    if (now.view === "maps") {
      const map = scaling(partial, s.n, basis), places = onto(map.places, now.places[0]);
      basis = map.basis;
      now.places = [now.places[0], places];
      maps[1].paint(s, places, now.places[0], `${now.k} of ${p}`, tell(map, partial));
    } else right.paint(partial, 0, now.highest, `${now.k} of ${p}`, `Dissimilarities of ${s.n} images in the ${describe()}.`);
    write();
    show();
  }

  // How far a map can be trusted.
  function tell({ places, m }, d) {
    const { n } = now.s, r2 = shown(places, d, n);
    if (m < 3) return "Fewer than three images have a similarity: there is no map.";
    return (r2 === r2 ? `Distances here share ${percent(r2)} of their variance with the dissimilarities (r²).` : "The dissimilarities do not vary.")
      + (m < n ? ` ${n - m} of ${n} images have no similarity: not shown.` : "");
  }

  // What belongs to a scene.
  function open(s, before) {
    before?.known.clear();
    partial = new Float64Array(s.n ** 2);
    cell = pinned = basis = null;
    images.show(stimuli, stimuli.indexOf(s.stimuli));
    networks.show(alike(s.stimuli).map(i => given[i].network), alike(s.stimuli).indexOf(model.get("scene")));
    reference.box.hidden = !s.human;
    share.input.max = s.p;
    edge.replaceChildren(...s.categories().map(([start, size]) =>
      element("span", { style: `top:${(100 * (start + size / 2)) / s.n}%` }, s.names.length ? s.name(start) : "")));
    const kinds = s.categories().map(([start]) => s.labels[start]);
    legend.hidden = kinds.length < 2 || kinds.length > CATEGORIES;
    legend.replaceChildren(...kinds.map(c => {
      const { colour, square } = dress(c);
      const style = s.sprite ? `border:solid ${colour};border-width:3px ${square ? 0 : 3}px` : bullet(c);
      return element("span", {}, element("i", { style }), s.names[c]);
    }));
  }

  // What stays while the slider moves.
  function settle() {
    const { s, against } = now, values = against === "people" ? s.people() : s.full(now.metric);
    order.show(now.order); metric.show(now.metric); reference.show(against); view.show(now.view);
    const drawn = now.view === "maps";
    matrices.hidden = drawn;
    mapped.hidden = coordinates.hidden = !drawn;
    for (const part of bar.children) part.hidden = drawn;
    ghostsOf.show(s.groups, now.category);
    ghostsOf.box.hidden = false;
    const [lowest, highest] = range(values, s.n);
    now.highest = 1.1 * range(s.full(now.metric), s.n)[1]; // some similarities fall as features go
    // People's dissimilarities have a scale of their own.
    least.textContent = against === "people" ? "alike" : "alike 0";
    most.textContent = against === "people" ? "unlike" : `≥ ${now.highest.toFixed(1)} unlike`;
    if (drawn) {
      const d = s.lengths(against, now.metric), map = s.once(`map ${against} ${now.metric}`, () => scaling(d, s.n));
      now.places = [signed(map.places)];
      maps[0].paint(s, now.places[0], now.places[0], REFERENCES[against], tell(map, d) + (against === "people" && s.gaps ? " Pairs that nobody judged take their two images’ mean." : ""));
    } else left.paint(values, against === "people" ? lowest : 0, against === "people" ? highest : now.highest, REFERENCES[against], `Dissimilarities of ${s.n} images, ${REFERENCES[against]}.`);
    outline();
  }

  function outline() {
    const { s, order: inUse, metric, against, category } = now;
    const first = s.curve(inUse, metric, against);
    const others = Object.keys(ORDERS).filter(name => name !== inUse);
    const drawn = [...others.filter(name => s.hasCurve(name, metric, against)), inUse];
    const lines = drawn.map(name => [name, s.curve(name, metric, against).r.map((r, i) => (enough(s, s.curve(name, metric, against), i + 1) ? r * r : NaN))]);
    const ceiling = against === "people" && s.ceiling.length ? s.ceiling : null;
    const tops = lines.flatMap(([, r2]) => Math.max(...r2.map(v => (v === v ? v : 0))));
    const highest = against === "people" ? Math.min(1, Math.max(0.05, 1.15 * Math.max(...tops, ...(ceiling ?? []).map(r => r * r)))) : 1;
    const ghosts = [...s.order[inUse]].flatMap((feature, place) => (s.ghosts[category * s.p + feature] ? [place] : []));
    Object.assign(now, { curve: first, ghosts, ceiling });
    plot.draw(lines, { highest, ceiling, ghosts, p: s.p, ylabel: against === "people" ? "R² with people" : "R² with all features" });
    // The other orders' curves follow once this one is on the screen.
    const next = others.find(name => !s.hasCurve(name, metric, against));
    if (next) setTimeout(() => {
      if (now.s !== s || now.metric !== metric || now.against !== against) return;
      s.curve(next, metric, against);
      outline();
      write();
    });
  }

  // The R² of the few images for which a rare feature happens to fire says nothing about the set
  // (rarefire.studies.Study.r2 has the same rule).
  const enough = (s, curve, k) => 2 * curve.images[k - 1] >= s.n;

  const describe = () => `${now.k} ${WHICH[now.order]} of ${now.s.p} features (${percent(now.k / now.s.p)})`;

  function write() {
    const { s, k, r, ghosts, curve, against } = now, inserted = s.order[now.order], to = against === "people" ? "people’s judgments" : `all ${s.p}`;
    const images = curve.images[k - 1], defined = r === r && enough(s, curve, k), value = `R² ${defined ? shortly(r * r) : "undefined"}`;
    share.input.value = k;
    share.value.textContent = `${k} of ${s.p} (${percent(k / s.p)})`;
    share.input.setAttribute("aria-valuetext", `${describe()}, ${value}`);
    r2.textContent = `R² = ${defined ? shortly(r * r) : "–"}`;
    r2.dataset.r = r;
    const only = images < s.n ? `: ${images} of ${s.n} images have a similarity there` : "";
    const why = only || (k === 1 && now.metric === "correlation" ? ": a correlation needs at least two" : ": the similarities do not vary");
    said.textContent = defined ? ` of the ${describe()} with ${to}${only}` : ` undefined for the ${describe()}${why}`;
    lacks.textContent = [images < s.n && "undefined", against === "people" && s.gaps && "not judged"].filter(Boolean).join(" or ");
    none.hidden = now.view === "maps" || !lacks.textContent;
    plot.move(k, `R² against the share of features kept. ${value} for the ${describe()}.`);
    const dead = [...s.poz.keys()].filter(place => s.poz[inserted[place]] === 1);
    const among = places => (places.length ? `${places.filter(place => place < k).length} of ${places.length}` : "there are none");
    rows.signed.show(against === "people" && shortly(defined ? r : NaN));
    rows.ceiling.show(now.ceiling && now.ceiling.map(c => shortly(c * c, 2)).join("–"));
    rows.poz.show(now.order !== "random" && percent(s.poz[inserted[k - 1]], 1));
    rows.dead.show(among(dead));
    rows.ghosts.show(s.ghosts.some(Boolean) && among(ghosts));
  }

  // The cell that is pointed at, or else the one that stays: a click, a tap or a key kept it.
  function look(at, stays) {
    if (stays) pinned = at;
    cell = at ?? pinned;
    words.setAttribute("aria-live", stays ? "polite" : "off");
    show();
  }

  const distances = () => now.s.lengths(now.against, now.metric);

  // Of image i: the other one that is least dissimilar, if any.
  function nearest(d, i) {
    let found = null, least = Infinity;
    for (let j = 0, n = now.s.n; j < n; j++)
      if (j !== i && d[i * n + j] < least) [found, least] = [j, d[i * n + j]];
    return found;
  }

  function show() {
    const { s } = now;
    const drawn = now.view === "maps", at = !cell ? [] : drawn ? [cell[0], nearest(distances(), cell[0]), nearest(partial, cell[0])] : cell;
    if (drawn) maps.forEach((map, side) => map.mark(cell, pinned, at[side + 1]));
    else for (const map of [left, right]) map.mark(cell, pinned);
    pictures.forEach((canvas, side) => {
      canvas.hidden = !s.sprite || at[side] == null;
      if (canvas.hidden) return;
      const pen = canvas.getContext("2d");
      pen.imageSmoothingEnabled = s.sprite.tile[0] >= 48;
      pen.clearRect(0, 0, 96, 96);
      s.stamp(pen, at[side], 0, 0, 96, 96);
    });
    if (!cell) {
      words.textContent = drawn ? "Point at an image (click or tap to keep it), or go through them with the arrow keys: which image is most like it?"
        : "Point at a cell (click or tap to keep it), or go there with the arrow keys: which two images does it compare?";
      return;
    }
    const [i, j] = cell, place = i * s.n + j;
    if (drawn) {
      const most = (side, d, value) => `${side} ${at[d] == null ? "none, it has no similarity" : `${s.title(at[d])}, ${value(i * s.n + at[d])}`}`;
      const left = most("left", 1, c => shortly(now.against === "people" ? s.judged(c) : distances()[c], 2));
      words.textContent = `${s.title(i)}. Least dissimilar to it: ${left}; ${most("right", 2, c => shortly(partial[c], 2))}.`;
      return;
    }
    if (i === j) {
      words.textContent = `An image of ${s.name(i)} with itself.`;
      return;
    }
    const full = s.full(now.metric)[place], kept = partial[place];
    const parts = [`${shortly(full, 2)} with all features`, `${kept === kept ? shortly(kept, 2) : "undefined"} with those kept`];
    if (now.against === "people") parts.unshift(s.people()[place] === s.people()[place] ? `${shortly(s.judged(place), 2)} for people` : "not judged by people");
    words.textContent = `${s.name(i)} and ${s.name(j)} (row ${i + 1}, column ${j + 1}): dissimilarity ${parts.join(", ")}.`;
  }

  function table() {
    const { s, curve } = now, inserted = s.order[now.order];
    return [...curve.r].map((r, i) => ({ k: i + 1, feature: inserted[i], poz: s.poz[inserted[i]], r, r2: r * r, n_images: curve.images[i] }));
  }

  const unmount = mount({ model, el }, root, ["scene", "fraction", "order", "metric", "reference", "category", "view"], draw);
  return () => {
    unmount();
    for (const { sheet } of sprites) URL.revokeObjectURL(sheet.src);
  };
}

function range(values, n) {
  let least = Infinity, highest = -Infinity;
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n; j++) {
      const v = values[i * n + j];
      if (v < least) least = v;
      if (v > highest) highest = v;
    }
  return least < highest ? [least, highest] : [0, 1];
}

// A row of the list of facts; hidden where there is nothing to show.
function fact(title) {
  const value = element("dd"), box = element("div", {}, element("dt", {}, title), value);
  return { box, show(text) { box.hidden = !text; value.textContent = text || ""; } };
}

// As Python rounds.
function roundHalfEven(x) {
  const near = Math.round(x);
  return x % 1 === 0.5 && near % 2 ? near - 1 : near;
}

export default { render };
