// Asks nvidia-smi. Every time for the XML; for what changes rarely (ids of MIG instances, how devices are joined) now
// and then, and remembers it with the tool. What a device was once known as it keeps: a device that is lost may have
// no UUID to tell any more, and the tool counts the others anew.
import { Fault, isFault } from '../../base/fault.ts';
import type { DeviceLink } from '../../protocol/device.ts';
import type { ToolOutput, ToolReading, ToolRunner } from '../accelerator.ts';
import { emptyReading, layoutFault } from '../reading.ts';
import { deviceLost } from '../roster.ts';
import { judgeSignals } from './judge.ts';
import { parseList, withMigList } from './list.ts';
import { lostNumbers, readingsOfLog } from './log.ts';
import { failureOf, parseNvidiaText } from './text.ts';
import { linkSignals, linkTo, parseLinkState, parseTopology } from './topology.ts';
import { treeAt, treeOfXml } from './tree.ts';

/** How many queries lie between two questions for what changes rarely. */
const RARE_QUERIES = 10;
/** Time that such a question must have: a matrix of eight devices takes about a second. */
const RARE_MS = 3000;

interface Answer {
  readonly exitCode: number;
  readonly stderr: string;
  /** What it printed beside the XML, or in its place. */
  readonly raw: string;
  /** The XML as an object, or null. */
  readonly data: unknown;
}

interface Known {
  readonly id: string;
  readonly index: number;
}

interface Notes {
  /** Devices by their place on the bus. */
  readonly devices: Map<string, Known>;
  /** Output of `-L`, and the instances that it was asked for. */
  list: { readonly of: string; readonly text: string } | null;
  /** By id of the device. */
  joined: ReadonlyMap<string, Joined>;
  joinedOf: string;
  /** Queries until the next question for what changes rarely. */
  untilRare: number;
}

interface Joined {
  readonly links: readonly DeviceLink[];
  readonly numaNode: number | null;
  readonly signals: Readonly<Record<string, number>>;
}

export async function query(tool: ToolRunner): Promise<ToolReading[]> {
  const notes = notesOf(tool);
  const answer = parseAnswer(await tool.runScript('nvidia-query.js', []));
  const lost = lostDevices(answer.raw, notes);
  const readings = answer.data === null ? await readText(tool, answer, lost, notes) : readXml(answer.data);
  const settled = keepKnown(readings, lost, notes);
  const named = await withInstances(tool, settled, notes);
  // While one is missing the tool counts the others in its own way.
  return withLinks(tool, named, notes, lost.length === 0);
}

function notesOf({ notes }: ToolRunner): Notes {
  const known = notes.get('nvidia') as Notes | undefined;
  if (known !== undefined) return known;
  const fresh: Notes = { devices: new Map(), list: null, joined: new Map(), joinedOf: '', untilRare: 0 };
  notes.set('nvidia', fresh);
  return fresh;
}

function parseAnswer({ stdout, stderr, exitCode }: ToolOutput): Answer {
  try {
    return JSON.parse(stdout) as Answer;
  } catch {
    const said = stderr.trim().split('\n')[0]?.slice(0, 200) ?? '';
    throw new Fault('DEVICE_TOOL_FAILED', `nvidia-smi could not be asked (exit code ${exitCode}): ${said}`);
  }
}

function readXml(data: unknown): ToolReading[] {
  const tree = treeOfXml(data);
  if (tree.length !== 1 || tree[0]?.key !== 'nvidia_smi_log')
    throw layoutFault('nvidia-smi', JSON.stringify(data) ?? '', 'XML of another kind');
  return readingsOfLog(treeAt(tree, 'nvidia_smi_log'), '<nvidia_smi_log>');
}

async function readText(
  tool: ToolRunner,
  { raw, stderr, exitCode }: Answer,
  lost: readonly ToolReading[],
  notes: Notes,
): Promise<ToolReading[]> {
  if (exitCode === 127) throw new Fault('DEVICE_TOOL_MISSING', 'nvidia-smi is gone');
  if (lost.length > 0) return readSiblings(tool, raw, lost, notes);
  const failure = failureOf(`${raw}\n${stderr}`, exitCode);
  if (failure !== null && !/NVSMI LOG|\| *NVIDIA-SMI +\d/.test(raw)) throw failure;
  if (raw.trim() === '')
    throw new Fault('DEVICE_TOOL_FAILED', `nvidia-smi said nothing (exit code ${exitCode})`, {
      remedy: 'run it by hand and see what it says',
    });
  return parseNvidiaText(raw);
}

/** Older tools stop at the first device that is lost: the others are asked for by their places on the bus. */
async function readSiblings(
  tool: ToolRunner,
  raw: string,
  lost: readonly ToolReading[],
  notes: Notes,
): Promise<ToolReading[]> {
  const gone = new Set(lost.map(({ busId }) => busId));
  const places = [...notes.devices.keys()].filter((place) => !gone.has(place));
  if (/^No devices were found/m.test(raw)) return [];
  if (places.length === 0) throw failureOf(raw, 0) ?? layoutFault('nvidia-smi', raw);
  const { stdout } = await tool.run(['-q', '-i', places.join(',')]);
  return parseNvidiaText(stdout);
}

/** Devices that the tool names and cannot open. */
function lostDevices(raw: string, { devices }: Notes): ToolReading[] {
  const lines = raw.matchAll(
    /Unable to determine the device handle for GPU ?(\d{0,4}):? ?((?:[0-9A-Fa-f]{4,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f]): (.{1,200})/g,
  );
  return [...lines].map(([, number, place = '', why = '']) => {
    const busId = longPlace(place);
    const known = devices.get(busId);
    return {
      ...emptyReading(known?.index ?? (Number(number) || 0), known?.id ?? busId, lostNumbers),
      busId,
      conditions: [deviceLost],
      healthKnown: true,
      absent: { processes: 'lost' },
      problem: why.trim(),
    };
  });
}

/** `0000:01:00.0` as the XML has it: `00000000:01:00.0`. */
function longPlace(place: string): string {
  const [function_ = '', bus = '', domain = '0'] = place.toUpperCase().split(':').reverse();
  return `${domain.padStart(8, '0')}:${bus}:${function_}`;
}

/** Gives each device the id and the number under which it was first seen at its place. */
function keepKnown(
  readings: readonly ToolReading[],
  lost: readonly ToolReading[],
  { devices }: Notes,
): ToolReading[] {
  const renamed = new Map<string, Known>();
  const missing = new Set(lost.map(({ index }) => index));
  let next = 0;
  for (const { id, busId, parentId } of readings) {
    if (parentId !== null || busId === null) continue;
    while (missing.has(next)) next += 1;
    const place = longPlace(busId);
    const known = devices.get(place);
    // Another card in the same place is another device.
    const own =
      known !== undefined && (known.id === id || !id.startsWith('GPU-')) ? known : { id, index: next };
    next += 1;
    renamed.set(id, own);
    if (id.startsWith('GPU-')) devices.set(place, own);
  }
  const there = readings.map((reading): ToolReading => {
    const own = renamed.get(reading.id);
    const parent = renamed.get(reading.parentId ?? '');
    return { ...reading, ...own, parentId: parent?.id ?? reading.parentId };
  });
  const ids = new Set(there.map(({ id }) => id));
  return [...there, ...lost.filter(({ id }) => !ids.has(id))];
}

/** The list alone has the ids of MIG instances. Without it they would come and go under names of our own. */
async function withInstances(
  tool: ToolRunner,
  readings: readonly ToolReading[],
  notes: Notes,
): Promise<ToolReading[]> {
  const instances = readings.filter(({ parentId }) => parentId !== null);
  if (instances.length === 0) return [...readings];
  const of = instances.map(({ id }) => id).join(' ');
  if (notes.list?.of !== of || notes.untilRare <= 0) {
    const { stdout } = await tool.run(['-L']);
    parseList(stdout);
    notes.list = { of, text: stdout };
  }
  return withMigList(readings, notes.list.text);
}

/** Links and near nodes, from the last time that they could be had. */
async function withLinks(
  tool: ToolRunner,
  readings: readonly ToolReading[],
  notes: Notes,
  mayAsk: boolean,
): Promise<ToolReading[]> {
  const devices = readings.filter(({ parentId }) => parentId === null);
  const of = devices.map(({ id }) => id).join(' ');
  const isDue = notes.untilRare <= 0 || notes.joinedOf !== of;
  notes.untilRare = isDue ? RARE_QUERIES - 1 : notes.untilRare - 1;
  if (isDue && mayAsk && tool.remainingMs() >= RARE_MS) {
    notes.joinedOf = of;
    notes.joined = await askLinks(tool, devices).catch((error: unknown) => {
      // Nobody's numbers depend on them.
      if (isFault(error)) return notes.joined;
      throw error;
    });
  }
  return readings.map((reading) => {
    const joined = notes.joined.get(reading.id);
    if (joined === undefined) return reading;
    const { links, numaNode, signals } = joined;
    return {
      ...reading,
      links,
      numaNode: reading.numaNode ?? numaNode,
      conditions: [...reading.conditions, ...judgeSignals(signals)],
    };
  });
}

async function askLinks(tool: ToolRunner, devices: readonly ToolReading[]): Promise<Map<string, Joined>> {
  const idOf = (index: number): string | null => devices.find((each) => each.index === index)?.id ?? null;
  const places = parseTopology((await tool.run(['topo', '-m'])).stdout);
  const states = await tool.run(['nvlink', '-s']);
  const connections = states.exitCode === 0 ? parseLinkState(states.stdout) : [];
  const found = new Map<string, Joined>();
  for (const { index, numaNode, paths } of places) {
    const id = idOf(index);
    if (id === null) continue;
    const state = connections.find((each) => each.index === index);
    const isUp = state === undefined ? null : true;
    const links = paths.map(({ kind, peer, count }) =>
      kind === 'nvlink' ? linkTo(idOf(peer), count, isUp) : { kind, peer: idOf(peer), count, up: null },
    );
    const isWired = state !== undefined && state.up > 0;
    if (isWired && state.down > 0) links.push(linkTo(null, state.down, false));
    found.set(id, { links, numaNode, signals: state === undefined ? {} : linkSignals(state) });
  }
  return found;
}
