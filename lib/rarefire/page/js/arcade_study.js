// A simulated study, and two tests of it: the same steps as rarefire.page.arcade. It runs in a worker, which
// is made of the text of these functions and classes: each knows the others, and what it is given.

// The Mersenne Twister, as numpy seeds it with a list of numbers.
class Twister {
  constructor(key) {
    const state = new Uint32Array(624), word = i => state[i - 1] ^ (state[i - 1] >>> 30);
    state[0] = 19650218;
    for (let i = 1; i < 624; i++) state[i] = Math.imul(1812433253, word(i)) + i;
    let i = 1, j = 0;
    const next = () => { if (++i >= 624) { state[0] = state[623]; i = 1; } };
    for (let k = Math.max(624, key.length); k; k--, j = (j + 1) % key.length, next())
      state[i] = (state[i] ^ Math.imul(word(i), 1664525)) + key[j] + j;
    for (let k = 623; k; k--, next()) state[i] = (state[i] ^ Math.imul(word(i), 1566083941)) - i;
    state[0] = 0x80000000;
    this.state = state;
    this.at = 624;
  }

  word() {
    const { state } = this;
    if (this.at === 624) {
      for (let i = 0; i < 624; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.at = 0;
    }
    let y = state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  // In [0, 1), of 53 bits.
  random() {
    const high = this.word() >>> 5, low = this.word() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  // Standard normal numbers, two of two (Box & Muller 1958).
  normal(count) {
    const out = new Float64Array(count);
    for (let i = 0; i < count; i += 2) {
      const radius = Math.sqrt(-2 * Math.log1p(-this.random())), angle = 2 * Math.PI * this.random();
      out[i] = radius * Math.cos(angle);
      if (i + 1 < count) out[i + 1] = radius * Math.sin(angle);
    }
    return out;
  }

  permutation(n) {
    const draws = Array.from({ length: n }, () => this.random());
    return [...draws.keys()].sort((a, b) => draws[a] - draws[b]);
  }
}

// Similarities of all pairs in the first k features, condensed; NaN where undefined.
function condensed(prefixes, k) {
  const { n } = prefixes, square = similarities(prefixes, k, new Float64Array(n * n)), out = new Float64Array((n * (n - 1)) / 2);
  for (let i = 0, c = 0; i < n; i++) for (let j = i + 1; j < n; j++) out[c++] = square[i * n + j];
  return out;
}

// Images, what a network makes of them, and what people say: people's similarity of every pair, condensed.
function drawStudy(world, { images: n, noise, gain }, key) {
  const { groups, causes, each } = world, p = groups * each, source = new Twister(key);
  const drawn = source.normal(groups * n * causes), others = source.normal(n * causes), features = new Float64Array(n * p);
  const fires = (given, at, g, f) => {
    let sum = 0;
    for (let c = 0; c < causes; c++) sum += given[at + c] * world.mixing[(g * causes + c) * each + f];
    return Math.max(sum - world.thresholds[g * each + f], 0);
  };
  for (let g = 0; g < groups; g++)
    for (let i = 0; i < n; i++)
      for (let f = 0; f < each; f++) features[i * p + g * each + f] = fires(drawn, (g * n + i) * causes, g, f);
  const errors = source.normal((n * (n - 1)) / 2), said = errors.map(error => -noise * error);
  const every = Array.from({ length: each }, (_, f) => f);
  for (let g = 0; g < groups; g++) {
    const own = new Float64Array(n * each);
    for (let i = 0; i < n; i++) own.set(features.subarray(i * p + g * each, i * p + (g + 1) * each), i * each);
    condensed(residuals(own, n, each, every, "correlation"), each).forEach((s, c) => { said[c] += world.weights[g] * (s === s ? s : 0); });
  }
  if (gain !== null) // what the rarest features fire for, people do not see
    for (let i = 0; i < n; i++)
      for (let f = 0; f < each; f++) features[i * p + p - each + f] = gain * fires(others, i * causes, groups - 1, f);
  const splits = Array.from({ length: world.splits }, () => source.permutation(n));
  return { n, p, features, said, splits };
}

// Pearson r of two lists; of all their entries, or of some.
function pearson(x, y, use) {
  const m = use ? use.length : x.length, at = use ? i => use[i] : i => i;
  let a = 0, b = 0, aa = 0, bb = 0, ab = 0;
  for (let i = 0; i < m; i++) { a += x[at(i)]; b += y[at(i)]; }
  a /= m;
  b /= m;
  for (let i = 0; i < m; i++) {
    const u = x[at(i)] - a, v = y[at(i)] - b;
    aa += u * u; bb += v * v; ab += u * v;
  }
  return ab / Math.sqrt(aa * bb);
}

// Two-sided p of Student's t with a whole number of degrees of freedom (Abramowitz & Stegun 26.7.3–4).
function tTest(t, df) {
  const angle = Math.atan(Math.abs(t) / Math.sqrt(df)), sine = Math.sin(angle), cosine = Math.cos(angle);
  let term = df % 2 ? cosine : 1, sum = df > 1 ? term : 0;
  for (let j = df % 2 ? 3 : 2; j < df; j += 2) sum += term *= (cosine * cosine * (j - 1)) / j;
  const inside = df % 2 ? (2 / Math.PI) * (angle + sine * sum) : sine * sum;
  return inside !== inside ? NaN : Math.max(0, 1 - inside);
}

// A paired t test over folds of the same images; rarefire.naive.paired_t_over_folds.
function overFolds(kept, whole, said, splits, folds) {
  const found = [], n = splits[0].length;
  for (const images of splits) {
    for (let part = 0, start = 0; part < folds; part++) {
      const size = Math.floor(n / folds) + (part < n % folds), own = images.slice(start, start + size).sort((a, b) => a - b), use = [];
      start += size;
      own.forEach((i, place) => { for (const j of own.slice(place + 1)) use.push(i * n - (i * (i + 1)) / 2 + j - i - 1); });
      found.push(pearson(kept, said, use) - pearson(whole, said, use));
    }
  }
  const mean = found.reduce((a, b) => a + b) / found.length;
  const variance = found.reduce((sum, d) => sum + (d - mean) ** 2, 0) / (found.length - 1);
  return { d: mean, p: tTest(mean / Math.sqrt(variance / found.length), found.length - 1) };
}

// J−: one image left out at a time, single pairs counted once; rarefire.inference.corrected_jackknife.
function overImages(kept, whole, said, n) {
  const pairs = said.length, h = centred(said), lists = [kept, whole].map(centred);
  const psi = new Float64Array(pairs), without = new Float64Array(n);
  let d = 0;
  lists.forEach((x, which) => {
    const sign = which ? -1 : 1, own = new Float64Array(5 * n), all = new Float64Array(5);
    const add = (sums, at, a, b) => { sums[at] += a; sums[at + 1] += a * a; sums[at + 2] += b; sums[at + 3] += b * b; sums[at + 4] += a * b; };
    for (let i = 0, c = 0; i < n; i++)
      for (let j = i + 1; j < n; j++, c++) { add(own, 5 * i, x[c], h[c]); add(own, 5 * j, x[c], h[c]); add(all, 0, x[c], h[c]); }
    const r = correlationOf(all, pairs), xx = all[1] / pairs, hh = all[3] / pairs, scale = Math.sqrt(xx * hh);
    for (let c = 0; c < pairs; c++) psi[c] += sign * ((x[c] * h[c]) / scale - (r / 2) * ((x[c] * x[c]) / xx + (h[c] * h[c]) / hh));
    for (let i = 0; i < n; i++) without[i] += sign * correlationOf(all.map((value, s) => value - own[5 * i + s]), pairs - n + 1);
    d += sign * r;
  });
  const sums = new Float64Array(n);
  for (let i = 0, c = 0; i < n; i++) for (let j = i + 1; j < n; j++, c++) { sums[i] += psi[c]; sums[j] += psi[c]; }
  const total = sums.reduce((a, b) => a + b), effects = sums.map(sum => (sum - total / (2 * n - 2)) / (n - 2));
  let single = 0;
  for (let i = 0, c = 0; i < n; i++) for (let j = i + 1; j < n; j++, c++) single += (psi[c] - effects[i] - effects[j]) ** 2;
  single /= pairs * (pairs - n);
  const mean = without.reduce((a, b) => a + b) / n;
  const jackknife = ((n - 1) / n) * without.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return { d, p: tTest(d / Math.sqrt(Math.max(jackknife - 2 * single, 0) + single), n - 1) };
}

function centred(values) {
  const mean = values.reduce((a, b) => a + b) / values.length;
  return values.map(value => value - mean);
}

// Pearson r of sums [Σx, Σx², Σy, Σy², Σxy] over pairs.
function correlationOf([x, xx, y, yy, xy], pairs) {
  return (xy / pairs - (x / pairs) * (y / pairs)) / Math.sqrt((xx / pairs - (x / pairs) ** 2) * (yy / pairs - (y / pairs) ** 2));
}

// What both tests say of one study: its curve, where it is highest, and { d, p } of each.
function oneStudy(world, setting, key) {
  const { n, p, features, said, splits } = drawStudy(world, setting, key);
  const prefixes = residuals(features, n, p, Array.from({ length: p }, (_, f) => f), "correlation");
  const of = Array.from({ length: world.groups }, (_, g) => condensed(prefixes, (g + 1) * world.each));
  const whole = of.at(-1), curve = of.map(similarity => pearson(similarity, said));
  const best = curve.reduce((most, r, g) => (g < world.groups - 1 && r > curve[most] ? g : most), 0);
  const naive = overFolds(of[best].map(s => (s === s ? s : 0)), whole, said, splits, setting.folds);
  return { curve, best, naive, valid: overImages(of[world.kept / world.each - 1], whole, said, n) };
}
