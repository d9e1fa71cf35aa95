// Accelerators: totals of the fleet by model, which need no token, and every device of every node, which do. What is
// simulated says so wherever it stands.
import { byId, cells, make, meterInto, rowsOf, setClass, setText } from './element.js';
import { scaled, shorten } from './figure.js';
import { say } from './language.js';

/** As protocol/device-totals.ts: the first of these that is known. */
const PRECISIONS = ['bf16', 'fp16', 'fp32', 'fp64'];
const FLEET_CLASSES = ['', 'number', '', 'number', 'number', 'number', 'number', 'number', 'number'];
const DEVICE_CLASSES = ['', '', '', '', '', 'number', 'number', '', 'wide'];

const headlineOf = (peaks) =>
  PRECISIONS.find((each) => (typeof peaks[each] === 'object' ? peaks[each]?.value : peaks[each]) != null) ??
  null;

/** `{value, counted}` as text; says over how many devices it is where that is not all of them. */
function sumText(sum, unit, reachable) {
  if (sum.value === null) return '–';
  const part = sum.counted === reachable ? '' : ` (${sum.counted}/${reachable})`;
  return scaled(sum.value, 1000, unit) + part;
}

/** Cards for the totals at the top: [title, figure, note, simulated]. */
export function deviceTotals({ all }) {
  if (all.devices === 0) return [];
  const headline = headlineOf(all.peakFlops);
  const peak = headline === null ? null : all.peakFlops[headline];
  const ill = all.health.degraded + all.health.failed + all.health.unknown;
  const note = (sum) =>
    sum.counted === all.reachable ? null : say('by {0} of {1} devices', sum.counted, all.reachable);
  const share =
    peak?.value && all.achievedFlops.value !== null
      ? say('{0} % of the peak', ((all.achievedFlops.value / peak.value) * 100).toFixed(0))
      : '';
  const limit = all.powerLimitWatts.value;
  const mark = all.simulated > 0;
  return [
    [
      say('Accelerators'),
      String(all.devices),
      ill === 0 ? say('{0} held, all well', all.held) : say('{0} held, {1} not well', all.held, ill),
      mark,
    ],
    [
      say('Accelerator peak'),
      peak === null ? say('unknown') : scaled(peak.value, 1000, 'FLOP/s'),
      peak === null ? say('no peak is known') : (note(peak) ?? say('{0}, dense', headline.toUpperCase())),
      mark,
    ],
    [
      say('Achieved'),
      all.achievedFlops.value === null ? say('unknown') : scaled(all.achievedFlops.value, 1000, 'FLOP/s'),
      note(all.achievedFlops) ?? share,
      mark,
    ],
    [
      say('Accelerator power'),
      all.powerWatts.value === null ? say('unknown') : scaled(all.powerWatts.value, 1000, 'W'),
      note(all.powerWatts) ?? (limit === null ? '' : say('of {0} limit', scaled(limit, 1000, 'W'))),
      mark,
    ],
  ];
}

export function showFleet({ models, all }) {
  byId('fleet-section').hidden = all.devices === 0;
  showBadge(byId('fleet-badge'), all.simulated, all.devices);
  const rows = rowsOf(
    'fleet',
    models.map(({ vendor, model }) => JSON.stringify([vendor, model])),
    () => cells(FLEET_CLASSES.length, FLEET_CLASSES),
  );
  models.forEach((totals, at) => {
    const [model, devices, health, held, peak, available, achieved, power, energy] = rows[at].cells;
    markedName(model, `${totals.vendor} ${nameOf(totals.vendor, totals.model)}`, totals.simulated > 0);
    setText(devices, String(totals.devices));
    setText(health, healthText(totals));
    setClass(
      health,
      totals.health.failed > 0 ? 'bad' : totals.health.ok === totals.reachable ? 'good' : 'wait',
    );
    setText(held, `${totals.held} / ${totals.reachable}`);
    const headline = headlineOf(totals.peakFlops);
    const flops = (sums) => (headline === null ? '–' : sumText(sums[headline], 'FLOP/s', totals.reachable));
    setText(peak, headline === null ? '–' : `${flops(totals.peakFlops)} ${headline.toUpperCase()}`);
    setText(available, flops(totals.availableFlops));
    setText(achieved, sumText(totals.achievedFlops, 'FLOP/s', totals.reachable));
    setText(power, sumText(totals.powerWatts, 'W', totals.reachable));
    setText(energy, sumText(totals.energyJoules, 'J', totals.reachable));
  });
}

function healthText({ devices, reachable, health, cordoned }) {
  const parts = ['ok', 'degraded', 'failed', 'unknown']
    .filter((each) => health[each] > 0)
    .map((each) => `${health[each]} ${say(each)}`);
  if (cordoned > 0) parts.push(`${cordoned} ${say('cordoned')}`);
  if (devices > reachable) parts.push(say('{0} unreachable', devices - reachable));
  return parts.join(', ');
}

/** Every device of every node; `nodes` null without a token. */
export function showDevices(nodes, isStale) {
  const list = (nodes ?? []).flatMap((node) =>
    node.devices.flatMap((view) => [
      { node, view, parent: null },
      ...view.partitions.map((part) => ({ node, view: part, parent: view })),
    ]),
  );
  byId('devices-section').hidden = list.length === 0;
  byId('no-token').hidden = nodes !== null;
  showStrips((nodes ?? []).filter(({ devices }) => devices.length > 0));
  const rows = rowsOf(
    'devices',
    list.map(({ node, view }) => `${node.id}/${view.vendor}/${view.id}`),
    () => cells(DEVICE_CLASSES.length, DEVICE_CLASSES),
  );
  list.forEach((each, at) => {
    showDevice(rows[at], each, isStale(each.node));
  });
}

function showDevice(row, { node, view, parent }, late) {
  const [device, model, busy, memory, power, temperature, flops, health, job] = row.cells;
  setClass(row, `${late ? 'late' : ''} ${parent === null ? '' : 'part'}`.trim());
  setText(
    device,
    parent === null ? `${node.name} · ${view.vendor} ${view.index}` : `${parent.index}.${view.index}`,
  );
  markedName(model, parent === null ? nameOf(view.vendor, view.name) : (view.profile ?? '–'), view.simulated);
  device.title = [view.id, view.busId, view.driverVersion].filter((each) => each !== null).join('\n');
  meterInto(busy, view.busyRatio, view.busyRatio === null ? why(view, 'busyRatio') : percent(view.busyRatio));
  const { memoryUsedBytes: used, memoryTotalBytes: total } = view;
  const known = used !== null && total !== null && total > 0;
  meterInto(
    memory,
    known ? used / total : null,
    known ? `${gib(used)} / ${gib(total)} GiB` : why(view, 'memoryUsedBytes'),
  );
  const limit = view.powerLimitWatts;
  meterInto(
    power,
    view.powerWatts !== null && limit ? view.powerWatts / limit : null,
    view.powerWatts === null
      ? why(view, 'powerWatts')
      : `${view.powerWatts.toFixed(0)}${limit === null ? '' : ` / ${limit.toFixed(0)}`} W`,
  );
  setText(
    temperature,
    view.temperatureCelsius === null
      ? why(view, 'temperatureCelsius')
      : `${view.temperatureCelsius.toFixed(0)} °C`,
  );
  const headline = headlineOf(view.peakFlops);
  const peak = headline === null ? null : view.peakFlops[headline];
  setText(
    flops,
    view.achievedFlops === null && peak === null
      ? '–'
      : `${tera(view.achievedFlops)} / ${tera(peak)} TFLOP/s${headline === null ? '' : ` ${headline.toUpperCase()}`}`,
  );
  flops.title = [view.achievedMethod, view.peakSource].filter((each) => each !== null).join('\n');
  setText(health, view.cordon === null ? say(view.health) : `${say(view.health)}, ${say('cordoned')}`);
  setClass(health, toneOf(view));
  health.title = troubleOf(view);
  const trouble = troubleOf(view);
  setText(job, [...(view.heldBy ?? []), ...(trouble === '' ? [] : [shorten(trouble, 120)])].join(' · '));
}

/** One small square a device, so that sixty-four are seen at once; fuller is busier. */
function showStrips(nodes) {
  const place = byId('strips');
  const known = new Map([...place.children].map((strip) => [strip.dataset.key, strip]));
  nodes.forEach((node, at) => {
    let strip = known.get(node.id);
    known.delete(node.id);
    if (strip === undefined) {
      strip = make('div', 'strip');
      strip.dataset.key = node.id;
      strip.append(make('span', 'quiet'), make('span', 'squares'));
    }
    if (place.children[at] !== strip) place.insertBefore(strip, place.children[at] ?? null);
    const [name, squares] = strip.children;
    setText(name, node.name);
    while (squares.children.length > node.devices.length) squares.lastElementChild.remove();
    while (squares.children.length < node.devices.length) squares.append(make('b'));
    node.devices.forEach((view, index) => {
      const square = squares.children[index];
      setClass(square, toneOf(view));
      square.style.setProperty('--busy', String(Math.min(1, Math.max(0, view.busyRatio ?? 0))));
      square.title = `${view.vendor} ${view.index}: ${say(view.health)}, ${view.busyRatio === null ? '–' : percent(view.busyRatio)}`;
    });
  });
  for (const strip of known.values()) strip.remove();
}

function toneOf(view) {
  if (view.health === 'failed') return 'bad';
  return view.health === 'ok' && view.cordon === null ? 'good' : 'wait';
}

/** Faults and the cordon, worst first as the node tells them. */
function troubleOf({ faults, cordon }) {
  const told = faults.map(({ code, text }) => `${code}: ${text}`);
  if (cordon !== null) told.push(`${say('cordoned')}: ${cordon.reason}`);
  return told.join(' · ');
}

function markedName(cell, name, simulated) {
  if (cell.firstElementChild === null) cell.append(make('span'), make('span', 'badge'));
  const [text, badge] = cell.children;
  setText(text, name);
  badge.hidden = !simulated;
  setText(badge, say('simulated'));
}

function showBadge(badge, simulated, devices) {
  badge.hidden = simulated === 0;
  setText(badge, simulated === devices ? say('simulated') : say('{0} of {1} simulated', simulated, devices));
}

/** The product's name without the vendor, which stands beside it. */
function nameOf(vendor, name) {
  if (name === null) return '–';
  const [first, ...rest] = name.split(' ');
  return first.toLowerCase() === vendor && rest.length > 0 ? rest.join(' ') : name;
}

/** Absent, with its reason; never a number. */
const why = (view, field) => view.absent[field] ?? say('absent');
const percent = (ratio) => `${(ratio * 100).toFixed(0)} %`;
const tera = (flops) => (flops === null ? '–' : (flops / 1e12).toFixed(flops < 9.95e12 ? 1 : 0));
const gib = (bytes) => (bytes / 1024 ** 3).toFixed(bytes < 10 * 1024 ** 3 ? 1 : 0);
