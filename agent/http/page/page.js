// The status page: asks the agent every two seconds and draws what it says. Texts come from other nodes' records, so
// they are only ever set as text, never as markup.
'use strict';
(() => {
  const POLL_MS = 2000;
  const SAMPLES = 60;
  const MAP_PEERS = 24;
  const SVG = 'http://www.w3.org/2000/svg';
  const TONES = { up: 'good', 'no-key': 'warn' };
  const MARKS = { good: '●', warn: '▲', bad: '■' };
  const PROTOCOLS = { 1: 'ICMP', 6: 'TCP', 17: 'UDP', 50: 'ESP', 58: 'ICMPv6' };
  /** Rates of the last minutes: peer -> {sent, received} in bits a second. */
  const history = new Map();
  let last;
  let lastMs = 0;
  let failedSince = 0;

  const byId = (id) => document.getElementById(id);
  const toneOf = (state) => TONES[state] ?? 'bad';

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function shape(name, attributes, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function age(ms) {
    if (ms < 0) return 'never';
    const seconds = Math.floor(ms / 1000);
    if (seconds < 60) return `${seconds} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} min`;
    const hours = Math.floor(minutes / 60);
    return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
  }

  function scaled(value, unit) {
    const units = ['', 'k', 'M', 'G', 'T'];
    let step = 0;
    let rest = value;
    while (rest >= 1000 && step < units.length - 1) {
      rest /= 1000;
      step += 1;
    }
    return `${rest >= 100 || step === 0 ? Math.round(rest) : rest.toFixed(1)} ${units[step]}${unit}`;
  }

  const until = (ms, nowMs) => (ms > nowMs ? `ends in ${age(ms - nowMs)}` : `ended ${age(nowMs - ms)} ago`);

  /** As `vxseal status`: blockers, problems, peers that are not up; each object once. */
  function findings(status) {
    const found = status.readiness.blockers.map(({ name, reason, remedy }) => ({ object: name, reason, remedy, sinceMs: 0 }));
    found.push(...status.problems);
    const named = new Set(found.map(({ object }) => object));
    for (const { node, state, why, remedy, sinceMs } of status.peers) {
      const object = `peer ${node}`;
      if (state !== 'up' && !named.has(object)) found.push({ object, reason: why ? `${state}: ${why}` : state, remedy, sinceMs });
    }
    return found;
  }

  function note(status, nowMs) {
    const seconds = (nowMs - lastMs) / 1000;
    for (const peer of status.peers) {
      const before = last?.peers.find((other) => other.node === peer.node);
      const kept = history.get(peer.node) ?? [];
      // Counters start again with the agent's maps.
      const rate = (kind) => (before ? Math.max(0, ((peer[kind].bytes - before[kind].bytes) * 8) / seconds) : 0);
      if (before) kept.push({ sent: rate('sealed'), received: rate('opened') });
      history.set(peer.node, kept.slice(-SAMPLES));
    }
    for (const node of [...history.keys()]) if (!status.peers.some((peer) => peer.node === node)) history.delete(node);
  }

  function drawHeader({ node, readiness, peers }) {
    const up = peers.filter(({ state }) => state === 'up').length;
    byId('name').textContent = node.name;
    document.title = `${readiness.ready ? '' : '! '}${node.name} · vxseal`;
    const pill = byId('ready');
    pill.textContent = readiness.ready ? '● ready' : '■ not ready';
    pill.className = `pill ${readiness.ready ? 'good' : 'bad'}`;
    const epoch = `epoch ${node.epoch.number}${node.epoch.published ? '' : ' (not yet published)'}`;
    byId('facts').textContent = `${up} of ${peers.length} peers up · ${epoch} · running for ${age(node.uptimeMs)} · version ${node.version}`;
  }

  function drawProblems(status, nowMs) {
    const found = findings(status);
    byId('problems').hidden = found.length === 0;
    byId('problem-list').replaceChildren(
      ...found.map(({ object, reason, remedy, sinceMs }) => {
        const item = element('li');
        const since = sinceMs > 0 ? ` (for ${age(Math.max(0, nowMs - sinceMs))})` : '';
        item.append(element('strong', object), `: ${reason}${since}`);
        if (remedy) item.append(element('div', remedy, 'remedy'));
        return item;
      }),
    );
  }

  /** This node in the middle, peers around it; those in trouble first, so that many do not hide them. */
  function drawMap({ node, peers }) {
    const svg = byId('map');
    const width = svg.clientWidth || 800;
    const height = svg.clientHeight || 300;
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const [x, y] = [width / 2, height / 2];
    const shown = [...peers].sort((a, b) => (a.state === 'up') - (b.state === 'up') || a.node.localeCompare(b.node)).slice(0, MAP_PEERS);
    const lines = [];
    const dots = [];
    shown.forEach((peer, index) => {
      const angle = (2 * Math.PI * (index + (shown.length % 2 === 0 ? 0.5 : 0))) / shown.length - Math.PI / 2;
      const px = x + Math.cos(angle) * Math.max(90, width / 2 - 90);
      const py = y + Math.sin(angle) * (height / 2 - 42);
      const tone = toneOf(peer.state);
      const rates = history.get(peer.node)?.at(-1);
      const weight = rates ? Math.min(7, 2 + Math.log10(1 + (rates.sent + rates.received) / 1e5)) : 2;
      const line = shape('line', { x1: x, y1: y, x2: px, y2: py, class: `${tone}${tone === 'good' ? '' : ' broken'}` });
      line.style.strokeWidth = weight;
      lines.push(line);
      const group = shape('g', { class: tone });
      const name = peer.node.length > 18 ? `${peer.node.slice(0, 17)}…` : peer.node;
      const detail = peer.state === 'up' ? (peer.rttMs >= 0 ? `${peer.rttMs.toFixed(2)} ms` : 'up') : `${MARKS[tone]} ${peer.state}`;
      group.append(
        shape('title', {}, `${peer.node}: ${peer.state}${peer.why ? `: ${peer.why}` : ''}`),
        shape('circle', { cx: px, cy: py, r: 10 }),
        shape('text', { x: px, y: py - 16 }, name),
        shape('text', { x: px, y: py + 25, class: 'sub' }, detail),
      );
      dots.push(group);
    });
    const self = shape('g', { class: 'self' });
    self.append(shape('circle', { cx: x, cy: y, r: 15 }), shape('text', { x, y: y + 33 }, node.name));
    svg.replaceChildren(...lines, ...dots, self);
    if (peers.length > shown.length) svg.append(shape('text', { x, y: height - 4, class: 'sub' }, `and ${peers.length - shown.length} more, all in the table`));
    svg.hidden = peers.length === 0;
    svg.style.display = peers.length === 0 ? 'none' : 'block';
    byId('no-peers').hidden = peers.length > 0;
    byId('peers').hidden = peers.length === 0;
  }

  function sparkline(rates) {
    const svg = shape('svg', { class: 'spark', viewBox: '0 0 90 30', role: 'img', 'aria-label': 'throughput of the last minutes' });
    const top = Math.max(1, ...rates.flatMap(({ sent, received }) => [sent, received]));
    const span = Math.max(SAMPLES / 4, rates.length);
    for (const kind of ['sent', 'received']) {
      const points = rates.map((rate, index) => `${(2 + (86 * (index + span - rates.length)) / (span - 1)).toFixed(1)},${(27 - (24 * rate[kind]) / top).toFixed(1)}`);
      svg.append(shape('polyline', { points: points.join(' '), class: kind }));
    }
    return svg;
  }

  function peerRow(peer) {
    const row = element('tr');
    const cell = (label, text, className) => {
      const made = element('td', text, className);
      if (label) made.dataset.label = label;
      row.append(made);
      return made;
    };
    cell('', peer.node, 'name').append(element('small', peer.vtep));
    const tone = toneOf(peer.state);
    const state = cell('', undefined, '');
    state.append(element('span', `${MARKS[tone]} ${peer.state}${peer.rotating ? ' (rotating)' : ''}`, `state ${tone}`));
    if (peer.state !== 'up' && peer.why) state.append(element('small', peer.why));
    cell('RTT', peer.rttMs < 0 ? '–' : `${peer.rttMs.toFixed(2)} ms`, 'number half');
    cell('Loss', peer.loss < 0 ? '–' : `${Math.ceil(peer.loss * 100)} %`, 'number half');
    const rates = history.get(peer.node) ?? [];
    const now = rates.at(-1) ?? { sent: 0, received: 0 };
    const throughput = cell('Throughput', undefined, 'throughput');
    const words = element('span', undefined, 'rates');
    words.append(element('span', `↑ ${scaled(now.sent, 'b/s')}`, 'key-sent'), document.createElement('br'), element('span', `↓ ${scaled(now.received, 'b/s')}`, 'key-received'));
    throughput.append(sparkline(rates), words);
    cell('Epochs', `${peer.epochs.ours.join(', ') || '–'} / ${peer.epochs.theirs.join(', ') || '–'}`, 'half epochs');
    cell('Last heard', peer.lastOpenedAgeMs < 0 ? 'never' : `${age(peer.lastOpenedAgeMs)} ago`, 'number half');
    return row;
  }

  function drawDrops({ drops, recentDrops }, nowMs) {
    const shown = drops.filter(({ packets }) => packets > 0).sort((a, b) => b.packets - a.packets);
    byId('no-drops').hidden = shown.length > 0;
    byId('drops').hidden = shown.length === 0;
    byId('drops').tBodies[0].replaceChildren(
      ...shown.map((drop) => {
        const same = (other) => other.reason === drop.reason && other.direction === drop.direction && other.node === drop.node;
        const before = last?.drops.find(same);
        const rate = last ? Math.max(0, (drop.packets - (before?.packets ?? 0)) / ((nowMs - lastMs) / 1000)) : 0;
        const row = element('tr');
        row.append(
          element('td', drop.reason, 'name'),
          element('td', drop.direction, 'direction'),
          element('td', drop.node || '–'),
          element('td', drop.packets.toLocaleString('en'), 'number'),
          element('td', rate > 0 ? `${scaled(rate, '/s')}` : '–', `number${rate > 0 ? ' bad' : ''}`),
        );
        return row;
      }),
    );
    byId('recent').hidden = recentDrops.length === 0;
    byId('recent-list').replaceChildren(...recentDrops.map((flow) => element('li', flowText(flow, nowMs))));
  }

  function flowText(flow, nowMs) {
    const end = (address, port) => (port > 0 ? `${address.includes(':') ? `[${address}]` : address}:${port}` : address);
    const way = flow.source ? `${end(flow.source, flow.sourcePort)} → ${end(flow.destination, flow.destinationPort)}` : 'not IP';
    const protocol = flow.source ? ` ${PROTOCOLS[flow.protocol] ?? `protocol ${flow.protocol}`}` : '';
    const who = [flow.pod && `pod ${flow.pod}`, flow.node && `peer ${flow.node}`].filter(Boolean).join(', ');
    const under = flow.policies.length > 0 ? `: no rule of ${flow.policies.join(', ')} allows it` : '';
    const more = flow.unreported > 0 ? `, and ${flow.unreported} more` : '';
    return `${age(nowMs - flow.atMs)} ago: ${flow.reason}, ${way}${protocol}, ${flow.bytes} bytes${who ? ` (${who})` : ''}${under}${more}`;
  }

  function drawPairs(list, pairs) {
    list.replaceChildren(...pairs.flatMap(([name, value]) => [element('dt', name), element('dd', value || '–')]));
  }

  function drawNode(status, nowMs) {
    const { node, bus, pods, hooks, maps } = status;
    const refused = bus.refusedRecords.map(({ reason, count }) => `${reason} ${count}`).join(', ');
    const sync = bus.connected ? (bus.inSync ? 'in sync' : 'being read') : `not connected${bus.error ? `: ${bus.error}` : ''}`;
    drawPairs(byId('node'), [
      ['Overlay', `${node.overlayDevice}, VNI ${node.vni}, MTU ${node.mtuBytes}, engine ${node.engine}`],
      ['Prefixes', node.prefixes.flatMap(({ prefixes }) => prefixes).join(', ')],
      ['Underlay', `${node.vteps.join(', ')} on ${node.underlay.map(({ device, mtuBytes }) => `${device} (${mtuBytes})`).join(', ')}`],
      ['Bus', `${bus.type}: ${sync}${bus.lastSeenMs > 0 ? `, last seen ${age(bus.stalenessMs)} ago` : ''}`],
      ['Records', `${bus.acceptedRecords} accepted${refused ? `; refused: ${refused}` : ''}`],
      ['Certificate', until(node.certificateNotAfterMs, nowMs)],
      ['Pods', `${pods.filter(({ ready }) => ready).length} of ${pods.length} ready`],
    ]);
    drawPairs(byId('parts'), [
      ...pods.map((pod) => [`${pod.namespace}/${pod.name}`, `${pod.addresses.join(', ')}${pod.ready ? '' : `, not ready: ${pod.why}`}`]),
      ...hooks.map((hook) => [hook.program, `${hook.device}: ${hook.mode || 'missing'}`]),
      ...maps.map((map) => [`map ${map.map}`, `${map.entries} of ${map.capacity}`]),
    ]);
  }

  function draw(status, nowMs) {
    note(status, nowMs);
    drawHeader(status);
    drawProblems(status, nowMs);
    drawMap(status);
    byId('peers').tBodies[0].replaceChildren(...status.peers.map(peerRow));
    drawDrops(status, nowMs);
    drawNode(status, nowMs);
    last = status;
    lastMs = nowMs;
  }

  function tellFresh(failure) {
    const fresh = byId('fresh');
    if (failure) failedSince ||= Date.now();
    else failedSince = 0;
    fresh.className = failure ? 'stale' : '';
    fresh.textContent = failure
      ? `The agent does not answer since ${age(Date.now() - failedSince)} (${failure}); this is what it said last. Encrypted traffic goes on without it.`
      : `live, every ${POLL_MS / 1000} s`;
  }

  async function ask() {
    try {
      const answer = await fetch('/v1/status', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      draw(await answer.json(), Date.now());
      tellFresh();
    } catch (error) {
      tellFresh(error.message);
    }
  }

  /** Not while nobody looks: an open tab costs the agent nothing. */
  async function run() {
    if (!document.hidden) await ask();
    setTimeout(run, POLL_MS);
  }
  addEventListener('resize', () => last && drawMap(last));
  run();
})();
