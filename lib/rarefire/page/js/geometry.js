// The pruning explorer's geometry: numbers alone, nothing of the page. The steps are those of Python; dot products
// and similarities stand in common.js, which another widget needs too.

// --- one image set seen by one network ---

class Geometry {
  // `given`: what travels in the page. R² counts where at least the share `least` of the images has a similarity.
  // `firing`: features that never fire are out of it; `features` are the indices of those in use.
  constructor(given, least, firing = false) {
    Object.assign(this, given);
    [this.n, this.p] = given.shape;
    this.least = least;
    this.embedding = decoded(given); // (n, p)
    this.poz = numbers(given.poz, Float32Array);
    this.labels = numbers(given.labels, Uint16Array);
    this.ghosts = numbers(given.ghosts, Uint8Array); // (categories, p)
    this.order = Object.fromEntries(Object.entries(given.orders).map(([name, order]) => [name, numbers(order, Uint16Array)]));
    this.sizes = given.sizes ? numbers(given.sizes, Float64Array) : new Float64Array(this.n).fill(1); // of the rows
    this.features = [...this.poz.keys()];
    this.dead = this.poz.filter(v => v === 1).length;
    if (firing && this.dead < this.p) this.leaveOut(this.features.filter(f => this.poz[f] === 1));
    this.known = new Map();
  }

  leaveOut(features) {
    const { p } = this, gone = new Set(features), kept = this.features.filter(f => !gone.has(f)), place = new Map(kept.map((f, i) => [f, i]));
    for (const name of ["embedding", "ghosts", "poz"]) this[name] = this[name].filter((_, c) => !gone.has(c % p));
    for (const name of Object.keys(this.order)) this.order[name] = this.order[name].filter(f => !gone.has(f)).map(f => place.get(f));
    Object.assign(this, { p: kept.length, features: kept });
  }

  // Computed once.
  once(key, compute) {
    if (!this.known.has(key)) this.known.set(key, compute());
    return this.known.get(key);
  }

  prefixes(order, metric) {
    return this.once(`prefixes ${order} ${metric}`, () =>
      residuals(this.embedding, this.n, this.p, this.order[order], metric));
  }

  // Dissimilarities (n, n) of all features.
  full(metric) {
    return this.once(`full ${metric}`, () =>
      similarities(this.prefixes("low", metric), this.p, new Float64Array(this.n ** 2)).map(s => 1 - s));
  }

  // People's (n, n), standardised; `scale` holds the mean and the standard deviation that they had.
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

  judged(place) { // on people's own scale
    return this.scale[0] + this.scale[1] * this.people()[place];
  }

  get gaps() { // pairs that nobody judged
    return this.once("gaps", () => this.people().some(v => v !== v));
  }

  // What the first features are compared with, by name: dissimilarities (n, n).
  compared(name, metric) {
    return name === "people" ? this.people() : this.full(metric);
  }

  // The same as similarities, up to their mean.
  reference(name, metric) {
    return this.once(`reference ${name} ${metric}`, () => this.compared(name, metric).map(d => -d));
  }

  // The same as lengths, for a map: people's dissimilarities in units of their standard deviation.
  lengths(name, metric) {
    if (name !== "people") return this.full(metric);
    return this.once("lengths", () => {
      const shift = Math.max(this.scale[0] / this.scale[1], -range(this.people(), this.n)[0]); // none is negative
      return this.people().map(v => v + shift);
    });
  }

  map(name, metric) {
    return this.once(`map ${name} ${metric}`, () => scaling(this.lengths(name, metric), this.n));
  }

  // The dissimilarity at which the colours of matrices end: some similarities fall as features go.
  limit(metric) {
    return this.once(`limit ${metric}`, () => 1.1 * range(this.full(metric), this.n)[1]);
  }

  curve(order, metric, name) {
    return this.once(`curve ${order} ${metric} ${name}`, () =>
      nestedCurve(this.prefixes(order, metric), this.reference(name, metric)));
  }

  hasCurve(order, metric, name) {
    return this.known.has(`curve ${order} ${metric} ${name}`);
  }

  // The R² of the few images for which a rare feature happens to fire says nothing about the set.
  enough(images) {
    return images >= this.least * this.n;
  }

  // For every number of features; NaN where it says nothing.
  r2(order, metric, name) {
    const { r, images } = this.curve(order, metric, name);
    return r.map((v, i) => (this.enough(images[i]) ? v * v : NaN));
  }

  // Places in an order, of the features for which `test` holds.
  where(order, test) {
    return [...this.order[order].keys()].filter(place => test(this.order[order][place]));
  }

  // Runs of images of one category: [first, how many].
  categories() {
    const starts = [...this.labels.keys()].filter(i => !i || this.labels[i] !== this.labels[i - 1]);
    return starts.map((start, c) => [start, (starts[c + 1] ?? this.n) - start]);
  }
}

function decoded({ kind, embedding, steps, shape: [, p] }) {
  if (kind === "f2") return float16(embedding);
  if (kind !== "u1") return numbers(embedding, kind === "f4" ? Float32Array : Float64Array);
  const step = numbers(steps, Float32Array);
  return Float64Array.from(numbers(embedding, Uint8Array), (code, i) => code * step[i % p]);
}

function float16(view) {
  const out = new Float32Array(view.byteLength / 2);
  for (let i = 0; i < out.length; i++) {
    const h = view.getUint16(2 * i, true), exponent = (h >> 10) & 31, fraction = h & 1023;
    out[i] = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    if (h >> 15) out[i] = -out[i];
  }
  return out;
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

// The mean over pairs that are defined.
function middle(values, n) {
  let m = 0, sum = 0;
  for (let i = 0; i < n; i++) for (let j = i + 1; j < n; j++) if (values[i * n + j] === values[i * n + j]) { m++; sum += values[i * n + j]; }
  return sum / m;
}

// Of image i: the other one that is least dissimilar, if any.
function nearest(d, n, i) {
  let found = null, least = Infinity;
  for (let j = 0; j < n; j++)
    if (j !== i && d[i * n + j] < least) [found, least] = [j, d[i * n + j]];
  return found;
}

// How many features a share of them is, as rarefire.curves.count.
function featuresKept(share, p) {
  return Math.min(p, Math.max(1, roundHalfEven(share * p)));
}

// As Python rounds.
function roundHalfEven(x) {
  const near = Math.round(x);
  return x % 1 === 0.5 && near % 2 ? near - 1 : near;
}

// --- R² ---

// Pearson r from sums over `m` pairs; NaN where one side does not vary or fewer than three pairs are left.
function correlationOf(m, a, aa, b, bb, ab) {
  const va = aa / m - (a / m) ** 2, vb = bb / m - (b / m) ** 2;
  const varies = va > Math.max(1e-13 * aa / m, 1e-27) && vb > Math.max(1e-13 * bb / m, 1e-27);
  if (m < 3 || !varies) return NaN;
  return Math.max(-1, Math.min(1, (ab / m - (a / m) * (b / m)) / Math.sqrt(va * vb)));
}

// r between the similarities in the first k features and a reference (n, n), NaN pairs left out.
function agreement(partial, reference, n) {
  let m = 0, a = 0, aa = 0, b = 0, bb = 0, ab = 0;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const x = partial[i * n + j] - 1, y = reference[i * n + j];
      if (x !== x || y !== y) continue;
      m++; a += x; aa += x * x; b += y; bb += y * y; ab += x * y;
    }
  }
  return correlationOf(m, a, aa, b, bb, ab);
}

// Of each image: the place of the feature with which its similarities begin; p if it is in no pair.
function beginnings({ scale, n, p }, reference) {
  return Array.from({ length: n }, (_, i) => {
    let f = 0;
    while (f < p && !(scale[i * p + f] > 0)) f++;
    for (let j = 0; j < n; j++) if (j !== i && reference[i * n + j] === reference[i * n + j]) return f;
    return p;
  });
}

// The same for every k at once, and how many images have a similarity: dot products that grow feature by feature.
function nestedCurve(prefixes, reference) {
  const { h, scale, n, p } = prefixes, first = beginnings(prefixes, reference);
  const a = new Float64Array(p), aa = new Float64Array(p), ab = new Float64Array(p);
  const m = new Float64Array(p), b = new Float64Array(p), bb = new Float64Array(p);
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const y = reference[i * n + j], born = Math.max(first[i], first[j]);
      if (y !== y || born >= p) continue;
      m[born]++; b[born] += y; bb[born] += y * y;
      let dot = 0, x = i * p, u = j * p;
      for (let f = 0; f < born; f++) dot += h[x + f] * h[u + f];
      for (let f = born; f < p; f++) {
        dot += h[x + f] * h[u + f];
        const s = dot * scale[x + f] * scale[u + f] - 1;
        a[f] += s; aa[f] += s * s; ab[f] += s * y;
      }
    }
  }
  const r = new Float64Array(p), images = new Int32Array(p);
  let pairs = 0, sum = 0, squares = 0;
  for (let f = 0; f < p; f++) {
    pairs += m[f]; sum += b[f]; squares += bb[f];
    r[f] = correlationOf(pairs, a[f], aa[f], sum, squares, ab[f]);
    images[f] = first.filter(start => start <= f).length;
  }
  return { r, images };
}

// --- a map: classical scaling (Torgerson) into the plane, as rarefire.rdm.mds ---

const FOLLOWED = 8; // vectors: the first two are found in few steps when others are followed beside them

// Places [x, y] of n images whose distances stand for the dissimilarities (n, n); NaN for images that have
// none. A missing pair takes the mean of its two images' own means. `start` is the basis of an earlier map.
function scaling(d, n, start) {
  const means = ownMeans(d, n), there = [...means.keys()].filter(i => means[i] === means[i]), m = there.length;
  const places = means.map(() => [NaN, NaN]);
  if (m < 3) return { places, m, basis: null };
  const { b, shift } = centredSquares(d, means, there), size = Math.min(FOLLOWED, m - 1);
  const { basis, values } = leading(b, start?.length === size ? centred(start, there) : centred(waves(size, n), there));
  for (const i of there) places[i] = [0, 1].map(c => basis[c][i] * Math.sqrt(Math.max(0, values[c] - shift)));
  return { places, m, basis };
}

// Of each image, over the others with which it has a dissimilarity.
function ownMeans(d, n) {
  return Array.from({ length: n }, (_, i) => {
    let m = 0, sum = 0;
    for (let j = 0; j < n; j++) {
      const v = d[i * n + j];
      if (j !== i && v === v) { m++; sum += v; }
    }
    return sum / m;
  });
}

// Squares of the images that are `there`, centred twice, with a row of 0 more. Off the diagonal their mean is
// taken out first: it adds the same `shift` to every eigenvalue, and the largest stand out more without it.
function centredSquares(d, means, there) {
  const n = means.length, m = there.length, b = new Float64Array((n + 1) * n), rows = new Float64Array(n);
  for (const i of there)
    for (const j of there) {
      const v = d[i * n + j];
      if (i !== j) rows[i] += b[i * n + j] = -((v === v ? v : (means[i] + means[j]) / 2) ** 2) / 2;
    }
  const shift = rows.reduce((sum, v) => sum + v) / (m * (m - 1));
  for (const i of there)
    for (const j of there)
      b[i * n + j] = (i === j ? 0 : b[i * n + j] - shift) - (rows[i] + rows[j]) / m + (2 * shift * (m - 1)) / m;
  return { b, shift };
}

// Vectors to begin with: no two alike.
function waves(size, n) {
  return Array.from({ length: size }, (_, c) => Float64Array.from({ length: n }, (_, i) => Math.sin((c + 1) * (i + 1) ** 2)));
}

function centred(vectors, there) {
  const used = new Set(there);
  return vectors.map(vector => {
    const middle = there.reduce((all, i) => all + vector[i], 0) / there.length;
    return vector.map((v, i) => (used.has(i) ? v - middle : 0));
  });
}

// The first eigenvectors of a symmetric matrix with a row of 0 more, and their values: the first two are as
// they should be, the others on their way. Subspace iteration with Rayleigh–Ritz steps, from `x` on.
function leading(b, x) {
  for (let step = 0, lift = 0; ; step++) {
    orthonormal(x);
    const y = x.map(column => product(b, column));
    const found = eigen(x.map(a => y.map(c => dot(a, c)))), values = found.map(({ value }) => value);
    const turned = columns => found.map(({ weights }) => sum(columns, weights));
    const q = turned(x), z = turned(y), largest = values[0];
    const off = [0, 1].map(c => sum([z[c], q[c]], [1, -values[c]]));
    if (step === 200 || Math.max(...off.map(v => dot(v, v))) <= 1e-10 * largest ** 2) return { basis: q, values };
    lift = Math.max(lift, 0.05 * largest, -values.at(-1)); // what is negative is not to win by its size
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
function fidelity(places, d, n) {
  const far = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = i + 1; j < n; j++) far[i * n + j] = Math.hypot(places[i][0] - places[j][0], places[i][1] - places[j][1]);
  return agreement(far, d, n) ** 2;
}
