// Trains beside the page, told by the messages of dying.js; a piece of an epoch at a time, to hear the next message.

const PIECES = 4; // of an epoch; the network is looked at after each
const PACE = 40; // milliseconds that a piece takes at least: faster, nobody would see it

let data, net, seed, rates, at, until, order, waiting;

const HEAR = {
  data(given) { data = given; },
  // An untrained network.
  network(given) {
    pause();
    ({ seed } = given);
    net = new Convnet(given.width, initial(given.width, seed));
    [at, until, order] = [0, 0, null];
    report(NaN);
  },
  rates(given) { rates = given; },
  run(given) {
    ({ until } = given);
    waiting ??= setTimeout(piece, 0);
  },
  pause() { // answered: what was on its way comes before
    pause();
    self.postMessage({ paused: true });
  },
};

self.onmessage = ({ data: [what, given] }) => HEAR[what](given);

function pause() {
  clearTimeout(waiting);
  waiting = null;
}

function piece() {
  const start = performance.now(), { trained, batch } = data, batches = Math.ceil(trained / batch);
  const epoch = Math.floor(at / PIECES), part = at % PIECES;
  if (!part || !order) order = epochOrder(trained, seed, epoch);
  const [first, last] = [part, part + 1].map(p => Math.round((p * batches) / PIECES));
  let loss = 0;
  for (let b = first; b < last; b++) {
    loss += net.loss(data.images, data.labels, order.slice(b * batch, (b + 1) * batch)) / (last - first);
    net.step(rates);
  }
  at++;
  waiting = null;
  if (report(loss) && at < PIECES * until) waiting = setTimeout(piece, Math.max(0, PACE - (performance.now() - start)));
}

// Whether there is anything left to train.
function report(loss) {
  const finite = net.weights.every(Number.isFinite) && (!at || Number.isFinite(loss));
  self.postMessage({ seed, epoch: at / PIECES, loss, finite, ended: at >= PIECES * until, weights: net.weights, ...survey(net, data) });
  return finite;
}
