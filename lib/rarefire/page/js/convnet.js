// A small LeNet and its gradient, numbers alone: the same network as rarefire.page.dying.network.
// 8 × 8 pixels → 3 × 3 convolution to 8 channels → ReLU, pooling → 3 × 3 convolution to 16 → ReLU, pooling
// → fully connected to `width` features → ReLU → fully connected to 10 classes.

const SIDE = 8, FIRST = 8, SECOND = 16, FLAT = 64, CLASSES = 10;
const RIM1 = SIDE + 2, RIM2 = SIDE / 2 + 2; // rows of images with a rim of zeros

// Where each parameter begins in one vector, in torch's order: weights and biases of conv1, conv2, fc1, fc2.
function layout(width) {
  const starts = [0];
  for (const size of [9 * FIRST, FIRST, 9 * FIRST * SECOND, SECOND, FLAT * width, width, width * CLASSES, CLASSES])
    starts.push(starts.at(-1) + size);
  return starts;
}

// Numbers in [0, 1) by mulberry32, a stream for each purpose: as rarefire.page.dying draws them.
function uniform(seed, stream) {
  let state = (Math.imul(seed, 1000003) + stream) | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Weights after He et al. (2015): normal, of variance 2 / inputs (Box and Muller); biases 0.
function initial(width, seed) {
  const at = layout(width), weights = new Float32Array(at.at(-1)), draw = uniform(seed, 0);
  [9, 9 * FIRST, FLAT, width].forEach((inputs, layer) => {
    for (let i = at[2 * layer]; i < at[2 * layer + 1]; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - draw())), angle = 2 * Math.PI * draw();
      weights[i] = Math.sqrt(2 / inputs) * radius * Math.cos(angle);
    }
  });
  return weights;
}

// The order in which an epoch goes through n images.
function epochOrder(n, seed, epoch) {
  const draw = uniform(seed, 1 + epoch), keys = Float64Array.from({ length: n }, draw);
  return [...keys.keys()].sort((a, b) => keys[a] - keys[b] || a - b);
}

class Convnet {
  constructor(width, weights) {
    this.width = width;
    this.at = layout(width);
    this.weights = weights;
    this.velocity = new Float32Array(weights.length);
    this.gradient = new Float64Array(weights.length);
    this.image = new Float32Array(RIM1 ** 2);
    this.pooled1 = new Float32Array(FIRST * RIM2 ** 2); // with rims
    this.from1 = new Uint8Array(FIRST * 16); // of each pooled value: where in `image` its patch begins
    this.pooled2 = new Float32Array(FLAT);
    this.from2 = new Uint8Array(FLAT); // … in a channel of `pooled1`
    this.features = new Float32Array(width);
    this.logits = new Float64Array(CLASSES);
    this.sums = new Float64Array(16);
    this.back1 = new Float64Array(FIRST * RIM2 ** 2);
    this.back2 = new Float64Array(FLAT);
  }

  // Image i of `images` (bytes from 0 to 16): its features and logits.
  forward(images, i) {
    const { weights: w, at, image, pooled1, from1, pooled2, from2, features, logits, sums, width } = this;
    for (let y = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++) image[(y + 1) * RIM1 + x + 1] = images[i * SIDE * SIDE + y * SIDE + x] / 16;
    for (let c = 0; c < FIRST; c++) {
      const k = at[0] + 9 * c, bias = w[at[1] + c];
      const a = w[k], b = w[k + 1], d = w[k + 2], e = w[k + 3], f = w[k + 4], g = w[k + 5], h = w[k + 6], l = w[k + 7], m = w[k + 8];
      for (let y = 0; y < 4; y++)
        for (let x = 0; x < 4; x++) {
          let most = -Infinity, from = 0;
          for (let corner = 0; corner < 4; corner++) {
            const p = (2 * y + (corner >> 1)) * RIM1 + 2 * x + (corner & 1);
            const v = bias + a * image[p] + b * image[p + 1] + d * image[p + 2]
              + e * image[p + RIM1] + f * image[p + RIM1 + 1] + g * image[p + RIM1 + 2]
              + h * image[p + 2 * RIM1] + l * image[p + 2 * RIM1 + 1] + m * image[p + 2 * RIM1 + 2];
            if (v > most) { most = v; from = p; }
          }
          pooled1[c * RIM2 * RIM2 + (y + 1) * RIM2 + x + 1] = most > 0 ? most : 0;
          from1[16 * c + 4 * y + x] = from;
        }
    }
    for (let c = 0; c < SECOND; c++) {
      sums.fill(w[at[3] + c]);
      for (let o = 0; o < FIRST; o++) {
        const k = at[2] + 9 * (FIRST * c + o), start = o * RIM2 * RIM2;
        const a = w[k], b = w[k + 1], d = w[k + 2], e = w[k + 3], f = w[k + 4], g = w[k + 5], h = w[k + 6], l = w[k + 7], m = w[k + 8];
        for (let place = 0; place < 16; place++) {
          const p = start + (place >> 2) * RIM2 + (place & 3);
          sums[place] += a * pooled1[p] + b * pooled1[p + 1] + d * pooled1[p + 2]
            + e * pooled1[p + RIM2] + f * pooled1[p + RIM2 + 1] + g * pooled1[p + RIM2 + 2]
            + h * pooled1[p + 2 * RIM2] + l * pooled1[p + 2 * RIM2 + 1] + m * pooled1[p + 2 * RIM2 + 2];
        }
      }
      for (let q = 0; q < 4; q++) {
        let most = -Infinity, from = 0;
        for (let corner = 0; corner < 4; corner++) {
          const y = 2 * (q >> 1) + (corner >> 1), x = 2 * (q & 1) + (corner & 1), v = sums[4 * y + x];
          if (v > most) { most = v; from = y * RIM2 + x; }
        }
        pooled2[4 * c + q] = most > 0 ? most : 0;
        from2[4 * c + q] = from;
      }
    }
    for (let j = 0; j < width; j++) {
      let v = w[at[5] + j];
      for (let f = 0, k = at[4] + FLAT * j; f < FLAT; f++, k++) v += w[k] * pooled2[f];
      features[j] = v > 0 ? v : 0;
    }
    for (let o = 0; o < CLASSES; o++) {
      let v = w[at[7] + o];
      for (let j = 0, k = at[6] + width * o; j < width; j++, k++) v += w[k] * features[j];
      logits[o] = v;
    }
  }

  // The class with the largest logit; the first of equals.
  get answer() {
    return this.logits.indexOf(Math.max(...this.logits));
  }

  // After `forward`: adds `share` of the gradient of this image's cross-entropy; returns the cross-entropy.
  backward(label, share) {
    const { weights: w, gradient: g, at, image, pooled1, from1, pooled2, from2, features, logits, back1, back2, width } = this;
    const most = Math.max(...logits), total = logits.reduce((all, v) => all + Math.exp(v - most), 0);
    const wrong = Array.from(logits, (v, o) => share * (Math.exp(v - most) / total - (o === label ? 1 : 0)));
    wrong.forEach((d, o) => { g[at[7] + o] += d; });
    back2.fill(0);
    for (let j = 0; j < width; j++) {
      if (!(features[j] > 0)) continue; // silent: its gradient is exactly 0
      let d = 0;
      for (let o = 0; o < CLASSES; o++) {
        const k = at[6] + width * o + j;
        g[k] += wrong[o] * features[j];
        d += wrong[o] * w[k];
      }
      g[at[5] + j] += d;
      for (let f = 0, k = at[4] + FLAT * j; f < FLAT; f++, k++) {
        g[k] += d * pooled2[f];
        back2[f] += d * w[k];
      }
    }
    back1.fill(0);
    for (let f = 0; f < FLAT; f++) {
      const d = back2[f], c = f >> 2;
      if (!(pooled2[f] > 0) || d === 0) continue;
      g[at[3] + c] += d;
      for (let o = 0; o < FIRST; o++)
        for (let tap = 0; tap < 9; tap++) {
          const k = at[2] + 9 * (FIRST * c + o) + tap, p = o * RIM2 * RIM2 + from2[f] + Math.floor(tap / 3) * RIM2 + (tap % 3);
          g[k] += d * pooled1[p];
          back1[p] += d * w[k];
        }
    }
    for (let c = 0; c < FIRST; c++)
      for (let place = 0; place < 16; place++) {
        const p = c * RIM2 * RIM2 + ((place >> 2) + 1) * RIM2 + (place & 3) + 1, d = back1[p];
        if (!(pooled1[p] > 0) || d === 0) continue;
        g[at[1] + c] += d;
        for (let tap = 0; tap < 9; tap++)
          g[at[0] + 9 * c + tap] += d * image[from1[16 * c + place] + Math.floor(tap / 3) * RIM1 + (tap % 3)];
      }
    return Math.log(total) + most - logits[label];
  }

  // The mean cross-entropy of some images; `gradient` is its gradient.
  loss(images, labels, rows) {
    this.gradient.fill(0);
    let all = 0;
    for (const row of rows) {
      this.forward(images, row);
      all += this.backward(labels[row], 1 / rows.length);
    }
    return all / rows.length;
  }

  // Stochastic gradient descent with momentum, as torch.optim.SGD: decay acts on biases too.
  step({ rate, decay, momentum }) {
    const { weights, velocity, gradient } = this;
    for (let k = 0; k < weights.length; k++) {
      velocity[k] = momentum * velocity[k] + gradient[k] + decay * weights[k];
      weights[k] -= rate * velocity[k];
    }
  }
}

// What a network does with all images, the training images first: for each feature the number of training images
// for which it is 0; accuracy on the rest; R² of the first k features with all, low→high PoZ, on `shown` of the rest.
function survey(net, { images, labels, trained, shown }) {
  const { width } = net, zeros = new Int32Array(width), embedding = new Float32Array((shown + 1) * width);
  let right = 0;
  for (let i = 0; i < labels.length; i++) {
    net.forward(images, i);
    const place = i - trained;
    if (place < 0) for (let j = 0; j < width; j++) zeros[j] += net.features[j] > 0 ? 0 : 1;
    else {
      right += net.answer === labels[i];
      if (place < shown) embedding.set(net.features, place * width);
    }
  }
  const order = [...zeros.keys()].sort((a, b) => zeros[a] - zeros[b] || a - b);
  const prefixes = residuals(embedding, shown, width, order, "correlation");
  const { r, images: defined } = nestedCurve(prefixes, similarities(prefixes, width, new Float64Array(shown * shown)));
  const r2 = r.map((v, i) => (2 * defined[i] >= shown ? v * v : NaN));
  return { zeros, order, accuracy: right / (labels.length - trained), r2 };
}
