// What is measured of an embedding that a reader brings: PoZ of every feature, and nested curves. Numbers alone,
// as rarefire.poz and rarefire.curves have them. Runs in a worker.

// --- random numbers: numpy.random.default_rng(seed).permutation(n) ---

class Generator {
  constructor(seed) {
    const words = this.seeded(seed), long = i => (BigInt(words[2 * i + 1]) << 32n) | BigInt(words[2 * i]);
    this.inc = ((((long(2) << 64n) | long(3)) << 1n) | 1n) & Generator.ALL;
    this.state = 0n;
    this.step();
    this.state = (this.state + ((long(0) << 64n) | long(1))) & Generator.ALL;
    this.step();
    this.left = null; // the other half of 64 bits
  }

  // SeedSequence(seed).generate_state(8)
  seeded(seed) {
    const mixed = (x, y) => { const v = (Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) >>> 0; return (v ^ (v >>> 16)) >>> 0; };
    const hash = (start, factor) => {
      let constant = start;
      return value => {
        value = (value ^ constant) >>> 0;
        constant = Math.imul(constant, factor) >>> 0;
        value = Math.imul(value, constant) >>> 0;
        return (value ^ (value >>> 16)) >>> 0;
      };
    };
    const into = hash(0x43b0d7e5, 0x931e8875), out = hash(0x8b51f9dd, 0x58f38ded), pool = [seed >>> 0, 0, 0, 0].map(into);
    for (let from = 0; from < 4; from++) for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mixed(pool[to], into(pool[from]));
    return Array.from({ length: 8 }, (_, i) => out(pool[i % 4]));
  }

  step() { this.state = (this.state * 0x2360ed051fc65da44385df649fccf645n + this.inc) & Generator.ALL; }

  next32() {
    if (this.left !== null) { const value = this.left; this.left = null; return value; }
    this.step();
    const folded = ((this.state >> 64n) ^ this.state) & 0xffffffffffffffffn, turn = this.state >> 122n;
    const value = ((folded >> turn) | (folded << (64n - turn))) & 0xffffffffffffffffn;
    this.left = Number(value >> 32n);
    return Number(value & 0xffffffffn);
  }

  permutation(n) {
    const order = Int32Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const mask = 2 ** (32 - Math.clz32(i)) - 1;
      let j;
      do j = (this.next32() & mask) >>> 0; while (j > i);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}
Generator.ALL = (1n << 128n) - 1n;

// So many of n, in rising order: numpy.sort(default_rng(seed).permutation(n)[:m]).
function drawn(n, m, seed) {
  return m < n ? new Generator(seed).permutation(n).slice(0, m).sort() : Int32Array.from({ length: n }, (_, i) => i);
}

// --- one pass over the file: PoZ, what is wrong with the numbers, and the rows that are kept ---

const BLOCK = 2 ** 22; // numbers that Python reads at once: its messages name their rows
const MOST_KEPT = 2 ** 25; // numbers
const PERCENTS = 100; // steps of a curve, where every k would be too many

// Every k where that is little work, every per cent otherwise.
function stepsOf(n, p, work) {
  if (p <= PERCENTS || 80 * n * n * p <= work) return Int32Array.from({ length: p }, (_, i) => i + 1);
  return Int32Array.from({ length: PERCENTS }, (_, i) => featuresKept((i + 1) / PERCENTS, p));
}

// How many of n images curves are made of: `work` is what all pairs may take, in products of two features.
function affordable(n, p, work) {
  return Math.min(n, Math.floor(MOST_KEPT / p), Math.floor(Math.sqrt(work / (p + 10 * Math.min(p, PERCENTS)))));
}

// `codes` of categories, or null. `tell` is called with the share that is done.
async function survey(stored, { rows, codes, groups, tell }) {
  const [n, p] = stored.shape, across = stored.fortran ? n : p, lines = stored.fortran ? p : n;
  const place = new Int32Array(n).fill(-1);
  rows.forEach((row, i) => { place[row] = i; });
  const Kind = /[f][24]|[iu][12]|b1/.test(stored.descr) ? Float32Array : Float64Array;
  const found = { zeros: new Float64Array(p), kept: new Kind(rows.length * p), fires: codes && new Uint8Array(groups * p) };
  const height = Math.max(16, Math.floor(BLOCK / p)), negative = new Float64Array(Math.ceil(n / height)), lowest = new Float64Array(negative.length);
  const bad = new Uint8Array(n), { zeros, kept, fires } = found;
  const check = block => {
    const first = block * height, count = Math.min(n - first, height), wrong = [];
    for (let row = first; row < first + count; row++) if (bad[row]) wrong.push(row);
    if (wrong.length) refuse(notFinite(wrong, first, count, n));
    if (negative[block]) refuse(notRelu(negative[block] / (count * p), lowest[block]));
  };
  const some = Math.max(1, Math.floor(2 ** 20 / across));
  for (let start = 0, checked = 0; start < lines; start += some) {
    const end = Math.min(lines, start + some), values = await stored.numbers(start * across, end * across);
    for (let line = start, at = 0; line < end; line++) {
      for (let other = 0; other < across; other++, at++) {
        const v = values[at], row = stored.fortran ? other : line, f = stored.fortran ? line : other;
        if (v === 0) zeros[f]++;
        else if (v > 0 && v < Infinity) { if (fires) fires[codes[row] * p + f] = 1; }
        else if (v < 0 && v > -Infinity) {
          const block = Math.floor(row / height);
          negative[block]++;
          if (v < lowest[block]) lowest[block] = v;
        } else bad[row] = 1;
        if (place[row] >= 0) kept[place[row] * p + f] = v;
      }
    }
    if (!stored.fortran) for (; (checked + 1) * height <= end; checked++) check(checked);
    tell(end / lines);
  }
  for (let block = 0; block < negative.length; block++) check(block);
  return { ...found, poz: zeros.map(count => count / n) };
}

function notFinite(wrong, first, count, n) {
  const where = count === n ? "" : ` (rows ${first} to ${first + count - 1})`;
  const rows = wrong.slice(0, 5).join(", ") + (wrong.length > 5 ? ", …" : "");
  return `${wrong.length} of ${count} images${where} have NaN or infinite features: row${wrong.length > 1 ? "s" : ""} ${rows}, counted from 0.`;
}

const notRelu = (share, lowest) =>
  `${roundHalfEven(100 * share)}% of the activations are negative (lowest ${general(lowest)}): PoZ is defined for post-ReLU features. ` +
  "Name the ReLU's layer, not the one before it; a network with GELU, SiLU or Hardswish instead has none.";

// By name, the features in the order of insertion. Equal PoZ goes by feature, in both directions.
function ordersOf(zeros, seed) {
  const features = Int32Array.from(zeros, (_, f) => f), { length } = features;
  return {
    low: features.slice().sort((f, g) => zeros[f] - zeros[g] || f - g),
    high: features.slice().sort((f, g) => zeros[g] - zeros[f] || f - g),
    random: new Generator(seed).permutation(length),
  };
}

// --- nested curves over all pairs of images ---

// Products of four images with two others, in WebAssembly: two numbers at a time. There are no files but this one,
// so the module is put together here: products(a, b, ends, last, out), all of them addresses. From `a` and `b`
// on lie panels: of each pair of features, those of four images. `ends` to `last`: where in the panel of `a` the steps
// end. At every step, eight sums so far go to `out`.
const ROWS = 4, COLUMNS = 2, SUMS = ROWS * COLUMNS, PAIR = 16 * ROWS; // bytes of a pair of features in a panel
function productsModule() {
  const leb = n => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)]);
  const bytes = list => [...leb(list.length), ...list], section = (id, ...content) => [id, ...bytes(content)], text = name => bytes(ascii(name));
  const get = i => [0x20, i], put = i => [0x21, i], add = (i, n) => [...get(i), 0x41, ...(n < 64 ? [n] : [n | 128, 0]), 0x6a, ...put(i)];
  const [A, B, ENDS, LAST, OUT, END, SUM] = [0, 1, 2, 3, 4, 5, 6], LEFT = SUM + SUMS, RIGHT = LEFT + ROWS;
  const load = (from, offset, to) => [...get(from), 0xfd, 0x00, 4, ...leb(offset), ...put(to)];
  const until = (i, limit) => [...get(i), ...get(limit), 0x49, 0x0d, 0x00]; // go on while i < limit
  const loop = (...body) => [0x03, 0x40, ...body.flat(), 0x0b];
  const rows = [...Array(ROWS).keys()], columns = [...Array(COLUMNS).keys()], sums = [...Array(SUMS).keys()];
  const product = (r, c) => [...get(SUM + r * COLUMNS + c), ...get(LEFT + r), ...get(RIGHT), 0xfd, 0xf2, 1, 0xfd, 0xf0, 1, ...put(SUM + r * COLUMNS + c)];
  const features = loop(
    rows.flatMap(r => load(A, 16 * r, LEFT + r)),
    columns.flatMap(c => [...load(B, 16 * c, RIGHT), ...rows.flatMap(r => product(r, c))]),
    add(A, PAIR), add(B, PAIR), until(A, END));
  const lane = (q, i) => [...get(SUM + q), 0xfd, 0x21, i];
  const stored = sums.flatMap(q => [...get(OUT), ...lane(q, 0), ...lane(q, 1), 0xa0, 0x39, 3, ...leb(8 * q)]);
  const steps = loop([...get(ENDS), 0x28, 2, 0, ...put(END)], features, stored, add(ENDS, 4), add(OUT, 8 * SUMS), until(ENDS, LAST));
  const locals = [2, 1, 0x7f, SUMS + ROWS + 1, 0x7b];
  return new Uint8Array([
    0, ...ascii("asm"), 1, 0, 0, 0, ...section(1, 1, 0x60, ...bytes(Array(5).fill(0x7f)), 0), ...section(2, 1, ...text("page"), ...text("memory"), 2, 0, 1),
    ...section(3, 1, 0), ...section(7, 1, ...text("products"), 0, 0), ...section(10, 1, ...bytes([...locals, ...steps, 0x0b])),
  ]);
}

// Sums over pairs for every step: of the prefix (a), the reference (b), from the step on at which a pair has a similarity.
const pairSums = steps => Object.fromEntries(["m", "a", "aa", "b", "bb", "ab"].map(name => [name, new Float64Array(steps)]));

const SAFE = 1e-6; // share of an image's squares, variance below which products of what is not centred lose too many digits

// Pairs of images, their similarities in the first features of an order: the same as Python's running sums over pairs.
class Pairs {
  // `values` (n × p); `steps`: numbers of features, the last one all; `people`: similarities (n × n), or null.
  constructor({ values, n, p, steps, people }) {
    Object.assign(this, { values, n, p, steps, people });
    this.panels = Math.ceil(n / ROWS);
    // Of each feature, its place in a panel: a step begins with a pair of its own.
    this.place = new Int32Array(p);
    this.length = 0; // of a panel, in features
    steps.forEach((k, step) => {
      for (let f = step ? steps[step - 1] : 0; f < k; f++) this.place[f] = this.length++;
      this.length += this.length % 2;
    });
    this.ends = Int32Array.from(steps, k => ((this.place[k - 1] >> 1) + 1) * PAIR);
    const T = steps.length;
    this.out = 64 * Math.ceil((4 * T) / 64); // bytes at which sums, and panels, begin
    this.first = this.out + 8 * SUMS * T;
    const memory = new WebAssembly.Memory({ initial: Math.ceil((this.first + 8 * ROWS * this.panels * this.length) / 65536) });
    this.products = new WebAssembly.Instance(new WebAssembly.Module(productsModule()), { page: { memory } }).exports.products;
    this.marks = new Int32Array(memory.buffer, 0, T);
    this.dots = new Float64Array(memory.buffer, this.out, SUMS * T);
    this.panel = new Float64Array(memory.buffer, this.first);
    this.silent = people && Array.from({ length: n }, (_, i) => people.subarray(i * n, (i + 1) * n).every((v, j) => v !== v || j === i)); // nobody judged it
  }

  // Metrics in one order, as far as they can be had from the same products. Pearson's are centred afterwards, by
  // the means, as long as that leaves their digits; else it goes alone, by residuals (common.js says what these are).
  curves(order, told) {
    const both = this.prepare(order, ["correlation", "cosine"]);
    if (both.safe) return this.sums(both.lanes, told);
    const half = later => ({ ...told, tell: share => told.tell((later + share) / 2) });
    return { ...this.sums(this.prepare(order, ["cosine"]).lanes, half(0)), ...this.sums(this.prepare(order, ["correlation"]).lanes, half(1)) };
  }

  // The features in an order, and what of every metric is needed at each step: 1 / norm (`scale`; 0 as long as an image
  // has no similarity), the first step with one (`born`), and the sum of features / √k where it is to be taken off (`mean`).
  prepare(order, metrics) {
    const { values, n, p, steps, place, panel, length } = this, T = steps.length, centred = !metrics.includes("cosine");
    const lane = () => ({ scale: new Float64Array(n * T), mean: new Float64Array(n * T), born: new Int32Array(n) });
    const pearson = lane(), cosine = lane(), shrink = Float64Array.from({ length: p }, (_, f) => Math.sqrt(f / (f + 1)));
    let safe = true;
    for (let i = 0; i < n; i++) {
      const from = i * p, to = (i >> 2) * length * ROWS + 2 * (i & 3);
      let largest = 0, step = 0, total = 0, squares = 0, sum = 0, variance = 0;
      for (let f = 0; f < p; f++) if (values[from + f] > largest) largest = values[from + f];
      const size = largest > 0 ? 1 / largest : 1, shift = values[from + order[0]] * size;
      for (let f = 0; f < p; f++) {
        const x = values[from + order[f]] * size, off = x - shift, h = f ? (off - sum / f) * shrink[f] : 0;
        sum += off;
        total += x;
        squares += x * x;
        variance += h * h;
        panel[to + (place[f] >> 1) * 2 * ROWS + (place[f] & 1)] = centred ? h : x;
        if (f + 1 !== steps[step]) continue;
        const at = i * T + step++;
        pearson.scale[at] = variance > 0 ? 1 / Math.sqrt(variance) : 0;
        cosine.scale[at] = squares > 0 ? 1 / Math.sqrt(squares) : 0;
        if (!centred) pearson.mean[at] = total / Math.sqrt(f + 1);
        safe &&= !(variance > 0) || variance > SAFE * squares;
      }
      for (const { scale, born } of [pearson, cosine]) {
        if (this.silent?.[i]) scale.fill(0, i * T, (i + 1) * T);
        while (born[i] < T && !(scale[i * T + born[i]] > 0)) born[i]++;
      }
    }
    const every = { correlation: pearson, cosine };
    return { safe, lanes: Object.fromEntries(metrics.map(metric => [metric, every[metric]])) };
  }

  // By metric, sums over a share of all pairs: part `part` of `of`. `tell` is called with the share that is done.
  sums(lanes, { part, of, tell }) {
    const { panels, length, ends, people } = this, T = ends.length;
    const made = Object.entries(lanes).map(([metric, lane]) => ({ metric, ...lane, own: pairSums(T), people: people && pairSums(T) }));
    const TOGETHER = 8, bytes = 8 * ROWS * length, groups = Math.ceil(panels / TOGETHER); // panels that stay in the processor's cache
    for (let group = part; group < groups; group += of) {
      const end = Math.min(panels, (group + 1) * TOGETHER);
      for (let j = group * TOGETHER; j < panels; j++)
        for (let i = group * TOGETHER; i < end && i <= j; i++) {
          const a = this.first + i * bytes;
          for (let t = 0; t < T; t++) this.marks[t] = a + ends[t];
          for (let half = 0; half < ROWS / COLUMNS; half++) {
            this.products(a, this.first + j * bytes + 16 * COLUMNS * half, 0, 4 * T, this.out);
            for (const one of made) this.add(one, ROWS * i, ROWS * j + COLUMNS * half);
          }
        }
      tell((1 + (group - part) / of) / Math.ceil((groups - part) / of));
    }
    return Object.fromEntries(made.map(({ metric, born, own, people }) => [metric, { own, people, images: countUp(born, T) }]));
  }

  // The pairs of images i, i + 1, … with j, j + 1.
  add(lane, i, j) {
    const { n, people } = this, { born, own } = lane, T = this.ends.length;
    const whole = i + ROWS <= j && j + COLUMNS <= n;
    const together = whole ? Math.max(born[i], born[i + 1], born[i + 2], born[i + 3], born[j], born[j + 1]) : T;
    for (let q = 0; q < SUMS; q++) {
      const x = i + (q >> 1), y = j + (q & 1);
      if (x >= y || y >= n) continue;
      const start = Math.max(born[x], born[y]), reference = start < T ? this.similarity(lane, q, x * T, y * T, T - 1) : 0;
      if (start >= T) continue;
      note(own, start, reference);
      if (start < together) this.some(lane, own, q, x * T, y * T, start, Math.min(T, together), reference);
      const judged = people ? people[x * n + y] : NaN;
      if (judged !== judged) continue;
      note(lane.people, start, judged);
      this.some(lane, lane.people, q, x * T, y * T, start, T, judged);
    }
    if (together < T) this.eight(lane, i * T, j * T, together);
  }

  // Less 1: where all images are alike, the variation would drown in the similarities' size.
  similarity({ scale, mean }, q, u, v, t) {
    return (this.dots[t * SUMS + q] - mean[u + t] * mean[v + t]) * scale[u + t] * scale[v + t] - 1;
  }

  // One of the eight pairs.
  some({ scale, mean }, { a, aa, ab }, q, u, v, start, end, reference) {
    const { dots } = this;
    for (let t = start; t < end; t++) {
      const s = (dots[t * SUMS + q] - mean[u + t] * mean[v + t]) * scale[u + t] * scale[v + t] - 1;
      a[t] += s; aa[t] += s * s; ab[t] += s * reference;
    }
  }

  // All eight, from a step on at which they all have a similarity.
  eight(lane, i, j, start) {
    const { scale, mean, own: { a, aa, ab } } = lane, { dots } = this, T = this.ends.length;
    const u0 = i, u1 = i + T, u2 = i + 2 * T, u3 = i + 3 * T, v0 = j, v1 = j + T;
    const full = (q, u, v) => this.similarity(lane, q, u, v, T - 1);
    const y0 = full(0, u0, v0), y1 = full(1, u0, v1), y2 = full(2, u1, v0), y3 = full(3, u1, v1);
    const y4 = full(4, u2, v0), y5 = full(5, u2, v1), y6 = full(6, u3, v0), y7 = full(7, u3, v1);
    for (let t = start, c = SUMS * start; t < T; t++, c += SUMS) {
      const p = scale[v0 + t], r = scale[v1 + t], w = scale[u0 + t], x = scale[u1 + t], y = scale[u2 + t], z = scale[u3 + t];
      const d = mean[v0 + t], e = mean[v1 + t], f = mean[u0 + t], g = mean[u1 + t], k = mean[u2 + t], l = mean[u3 + t];
      const s0 = (dots[c] - d * f) * w * p - 1, s1 = (dots[c + 1] - e * f) * w * r - 1;
      const s2 = (dots[c + 2] - d * g) * x * p - 1, s3 = (dots[c + 3] - e * g) * x * r - 1;
      const s4 = (dots[c + 4] - d * k) * y * p - 1, s5 = (dots[c + 5] - e * k) * y * r - 1;
      const s6 = (dots[c + 6] - d * l) * z * p - 1, s7 = (dots[c + 7] - e * l) * z * r - 1;
      a[t] += s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7;
      aa[t] += s0 * s0 + s1 * s1 + s2 * s2 + s3 * s3 + s4 * s4 + s5 * s5 + s6 * s6 + s7 * s7;
      ab[t] += s0 * y0 + s1 * y1 + s2 * y2 + s3 * y3 + s4 * y4 + s5 * y5 + s6 * y6 + s7 * y7;
    }
  }
}

// A pair, from the step on at which it has a similarity.
function note({ m, b, bb }, start, reference) {
  m[start]++; b[start] += reference; bb[start] += reference * reference;
}

// How many images have a similarity, at every step.
function countUp(born, steps) {
  const counts = new Int32Array(steps);
  for (const first of born) if (first < steps) counts[first]++;
  for (let t = 1; t < steps; t++) counts[t] += counts[t - 1];
  return counts;
}
