// The nodes: who is enrolled, who is connected now, what each said last. Records live in the queue; sessions and
// windows live here, in memory, and are gone with the process: agents tell them again.
import { isDeepStrictEqual } from 'node:util';
import type { Clock, Timer } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { isIdStart } from '../base/id.ts';
import type { NodeView, OverviewView } from '../protocol/api.ts';
import type { Window } from '../protocol/columns.ts';
import type { Dictionary, Hello, Inventory } from '../protocol/control.ts';
import type { DeviceRecord } from '../protocol/device.ts';
import type { ExecSchedulerMessage } from '../protocol/exec.ts';
import { createFrameDecoder, createFrameScratch, type FrameDecoder } from '../protocol/frame.ts';
import { hostView } from '../protocol/host.ts';
import type { Signed } from '../protocol/signed.ts';
import { CLONE_REMEDY } from './clones.ts';
import type { PlacementNode } from './demand.ts';
import { labelsOf, placeOf } from './node-credentials.ts';
import {
  type Cordons,
  cordonsOf,
  describeCordon,
  distinctRecords,
  findDevice,
  nextEndMs,
  nodeDeviceViews,
  placementDevices,
} from './node-devices.ts';
import { describeNode } from './node-reason.ts';
import type { OutputLengths } from './output.ts';
import type { Placement } from './placement.ts';
import type { JobRecord, NodeRecord, Queue } from './queue/queue.ts';

/** One admitted connection of an agent, as the rest of the scheduler sees it. */
export interface AgentSession {
  readonly id: string;
  readonly nodeId: string;
  /** Of its agent (clones.ts). */
  readonly run: string;
  /** Sends an order and watches for its acknowledgement. */
  order(order: Order): void;
  /** Asks for all that the agent knows of a job; it comes as a `jobReport`. */
  report(jobId: string, epoch: number): void;
  /** Tells the agent how much of a job's output is on disk. */
  outputSynced(jobId: string, epoch: number, lengths: OutputLengths): void;
  /** Whether it understands signed input of commands (protocol/exec-input.ts); absent: no. */
  readonly passesProofs?: boolean;
  /** About a command beside a job, `inputKey` with its order; false while it cannot be told: not welcomed yet, or ended. */
  tell(message: ExecSchedulerMessage, inputKey?: string): boolean;
  /** A frame of its input. */
  send(frame: Uint8Array): void;
  /** A later credential of the node; nothing to an agent that does not know of them. */
  credential(signed: Signed): void;
  /** Whether the agent is still there: asks it, and waits for a moment. */
  answers(): Promise<boolean>;
  close(code: number, reason: string): void;
}

export type Order =
  | { readonly kind: 'start'; readonly job: JobRecord }
  | { readonly kind: 'stop'; readonly job: JobRecord; readonly by: string; readonly reason: string };

/** Longest wait for the end of a cordon; then its end is looked at again. */
const MAX_CORDON_WAIT_MS = 3_600_000;

interface Node {
  record: NodeRecord;
  session: AgentSession | null;
  /** The welcome has gone out: orders may be sent. */
  welcomed: boolean;
  /** Its jobs have been compared as well: takes new ones. */
  ready: boolean;
  /** Takes no new jobs for a while, because it refused some. */
  paused: boolean;
  /** Why its agent takes no orders, as it said last; null where it does. */
  refusing: string | null;
  inventory: Inventory | null;
  /** As last told; kept while the node is away. */
  devices: readonly DeviceRecord[];
  /** Fires when a cordon runs out. */
  cordonEnd: { readonly atMs: number; readonly timer: Timer } | null;
  /** What placement was told last. */
  placed: PlacementNode | null;
  agentVersion: string | null;
  connectedAtMs: number | null;
  lastSeenAtMs: number | null;
  lastSeenMonotonicMs: number | null;
  decoder: FrameDecoder | null;
  window: Window | null;
  windowMonotonicMs: number;
}

export interface Fleet {
  /** Makes an enrolled node known. */
  add(record: NodeRecord): void;
  /** Forgets a node that was removed. */
  forget(nodeId: string): void;
  /** Whether a connection of the node stands, whatever it may be used for. */
  isConnected(nodeId: string): boolean;
  /** That connection, or null. */
  connection(nodeId: string): AgentSession | null;
  /** The session that has proven to be this node; returns the one that it replaces. */
  attach(session: AgentSession, hello: Hello): AgentSession | null;
  /** The welcome has gone out: orders may be sent from now on. */
  welcomed(session: AgentSession): void;
  /** Its jobs have been compared: from now on the node takes new ones. */
  ready(session: AgentSession): void;
  /** The session is gone; nothing happens when another has taken its place. */
  detach(session: AgentSession): void;
  pause(nodeId: string, paused: boolean): void;
  /** Its agent takes no orders from now on, and says why; or null: it does again. */
  refusing(nodeId: string, why: string | null): void;
  /** Session of a node that may be given orders, or null. */
  session(nodeId: string): AgentSession | null;
  seen(nodeId: string): void;
  dictionary(nodeId: string, dictionary: Dictionary): void;
  /** The devices of the node as they are now. Free ones may have come: look for work. */
  devices(nodeId: string, records: readonly DeviceRecord[]): void;
  /** The id of the device that somebody names; throws Fault API_NOT_FOUND. */
  deviceId(nodeId: string, text: string): string;
  /** Cordons in the node's record have changed. */
  refresh(nodeId: string): void;
  /** Throws Fault LINK_FRAME_*. */
  telemetry(nodeId: string, frame: Uint8Array): void;
  name(nodeId: string): string;
  isReachable(nodeId: string): boolean;
  /** Monotonic ms when the node was last heard, or null when it was not since this scheduler started. */
  seenMonotonicMs(nodeId: string): number | null;
  /** Seconds since the node was last heard, or null when it was not since this scheduler started. */
  silentSeconds(nodeId: string): number | null;
  view(nodeId: string): NodeView | null;
  views(): readonly NodeView[];
  /** Nodes with this id or name, or whose id starts so (`isIdStart`). */
  find(text: string): readonly string[];
  overview(): OverviewView['nodes'];
  counts(): { readonly ready: number; readonly unreachable: number };
}

export function createFleet(options: {
  readonly queue: Queue;
  readonly placement: Placement;
  readonly clock: Clock;
  /** A cordon has run out: there may be work for what it kept free. */
  readonly freed: () => void;
}): Fleet {
  const { queue, placement, clock } = options;
  const nodes = new Map<string, Node>();
  const scratch = createFrameScratch();
  for (const record of queue.nodes()) if (!isRemoved(record)) add(record);

  function add(record: NodeRecord): void {
    if (nodes.has(record.id)) return;
    const node: Node = {
      record,
      session: null,
      welcomed: false,
      ready: false,
      paused: false,
      refusing: null,
      inventory: null,
      devices: [],
      cordonEnd: null,
      placed: null,
      agentVersion: null,
      connectedAtMs: null,
      lastSeenAtMs: null,
      lastSeenMonotonicMs: null,
      decoder: null,
      window: null,
      windowMonotonicMs: 0,
    };
    nodes.set(record.id, node);
    // So that a job that waits for it can name it before it has said what it has.
    place(node);
  }

  function known(nodeId: string): Node {
    const node = nodes.get(nodeId);
    if (node === undefined) throw new Fault('FLEET_NODE_UNKNOWN', `there is no node ${nodeId}`);
    return node;
  }

  function cordons(node: Node): Cordons {
    return cordonsOf(queue.node(node.record.id), clock.wallMs());
  }

  /** As it is on disk, or will be. */
  function recordOf({ record }: Node): NodeRecord {
    return queue.node(record.id) ?? record;
  }

  /** Tells placement what has changed. */
  function place(node: Node): void {
    // One time for all of it: a cordon that ends in the middle would be in force, with no end to wait for.
    const nowMs = clock.wallMs();
    const present = cordonsOf(queue.node(node.record.id), nowMs);
    const now = placementNode({ ...node, record: recordOf(node) }, present, nowMs);
    watchCordons(node, present, nowMs);
    if (isDeepStrictEqual(now, node.placed)) return;
    node.placed = now;
    placement.setNode(now);
  }

  function watchCordons(node: Node, present: Cordons, nowMs: number): void {
    node.cordonEnd?.timer.cancel();
    // One that somebody found over before its timer did is told all the same to those who wait for it.
    const isOver = node.cordonEnd !== null && node.cordonEnd.atMs <= nowMs;
    const atMs = isOver ? nowMs : nextEndMs(present, node.devices, nowMs);
    node.cordonEnd = null;
    if (atMs === null) return;
    const timer = clock.after(Math.min(MAX_CORDON_WAIT_MS, Math.max(1, atMs - nowMs)), () => {
      node.cordonEnd = null;
      place(node);
      options.freed();
    });
    node.cordonEnd = { atMs, timer };
  }

  function seen(node: Node): void {
    node.lastSeenAtMs = clock.wallMs();
    node.lastSeenMonotonicMs = clock.monotonicMs();
  }

  function silentSeconds(node: Node): number | null {
    return node.lastSeenMonotonicMs === null ? null : (clock.monotonicMs() - node.lastSeenMonotonicMs) / 1000;
  }

  function describe(node: Node, cordons: Cordons): string {
    const isConnected = node.session !== null;
    return describeNode({ ...node, isConnected, silentSeconds: silentSeconds(node) }, cordons);
  }

  function hostAgeSeconds(node: Node): number | null {
    return node.window === null ? null : (clock.monotonicMs() - node.windowMonotonicMs) / 1000;
  }

  function view(node: Node): NodeView {
    const { record, inventory } = node;
    const load = placement.load(record.id);
    const present = cordons(node);
    const known = recordOf(node);
    const cloned = known.cloned ?? null;
    const holders = (id: string): readonly string[] => load?.devices.holders(id) ?? [];
    return {
      id: record.id,
      name: record.name,
      state: node.ready ? 'ready' : 'unreachable',
      reason: cloned === null ? describe(node, present) : `${cloned.reason}; ${CLONE_REMEDY}`,
      takesJobs: isOpen(node) && present.node === null && cloned === null,
      cordon: present.node,
      cloned:
        cloned === null ? null : { since: new Date(cloned.sinceMs).toISOString(), reason: cloned.reason },
      place: placeOf(known),
      labels: labelsOf(known),
      agentVersion: node.agentVersion,
      bootId: record.bootId,
      enrolledAt: new Date(record.enrolledAtMs).toISOString(),
      connectedAt: node.connectedAtMs === null ? null : new Date(node.connectedAtMs).toISOString(),
      lastSeenAt: node.lastSeenAtMs === null ? null : new Date(node.lastSeenAtMs).toISOString(),
      inventory,
      resources:
        inventory === null
          ? null
          : {
              cpus: { total: inventory.jobCpus, held: (load?.heldCpuHundredths ?? 0) / 100 },
              memoryBytes: { total: inventory.jobMemoryBytes, held: load?.heldMemoryBytes ?? 0 },
            },
      jobs: [...(load?.heldBy ?? [])],
      host: node.window === null ? null : hostView(node.window),
      hostAgeSeconds: hostAgeSeconds(node),
      devices: nodeDeviceViews(node.devices, node.window, present, holders, clock.wallMs()),
    };
  }

  /** A connected node of the same name. */
  function heirOf({ record }: Node): string | null {
    for (const other of nodes.values())
      if (other.session !== null && other.record.name === record.name && other.record.id !== record.id)
        return other.record.id;
    return null;
  }

  return {
    add,
    forget(nodeId) {
      nodes.get(nodeId)?.cordonEnd?.timer.cancel();
      nodes.delete(nodeId);
      placement.dropNode(nodeId);
    },
    isConnected: (nodeId) => nodes.get(nodeId)?.session != null,
    connection: (nodeId) => nodes.get(nodeId)?.session ?? null,
    attach(session, hello) {
      const node = known(session.nodeId);
      const replaced = node.session;
      node.session = session;
      node.welcomed = false;
      node.ready = false;
      node.refusing = hello.refusing ?? null;
      node.inventory = hello.inventory;
      node.devices = distinctRecords(hello.devices);
      node.agentVersion = hello.agentVersion;
      node.connectedAtMs = clock.wallMs();
      node.decoder = null;
      node.record = { ...node.record, name: hello.name, bootId: hello.bootId, generation: hello.generation };
      seen(node);
      place(node);
      return replaced;
    },
    welcomed(session) {
      const node = nodes.get(session.nodeId);
      if (node?.session === session) node.welcomed = true;
    },
    ready(session) {
      const node = nodes.get(session.nodeId);
      if (node?.session !== session) return;
      node.ready = true;
      place(node);
    },
    detach(session) {
      const node = nodes.get(session.nodeId);
      if (node?.session !== session) return;
      node.session = null;
      node.welcomed = false;
      node.ready = false;
      node.decoder = null;
      place(node);
    },
    pause(nodeId, paused) {
      const node = nodes.get(nodeId);
      if (node === undefined || node.paused === paused) return;
      node.paused = paused;
      place(node);
    },
    refusing(nodeId, why) {
      const node = known(nodeId);
      node.refusing = why;
      place(node);
    },
    session(nodeId) {
      const node = nodes.get(nodeId);
      return node?.welcomed === true ? node.session : null;
    },
    seen: (nodeId) => seen(known(nodeId)),
    dictionary(nodeId, dictionary) {
      known(nodeId).decoder = createFrameDecoder(dictionary, scratch);
    },
    devices(nodeId, records) {
      const node = known(nodeId);
      node.devices = distinctRecords(records);
      place(node);
    },
    deviceId(nodeId, text) {
      const node = known(nodeId);
      return findDevice(node.devices, text, node.record.name);
    },
    refresh(nodeId) {
      const node = nodes.get(nodeId);
      if (node !== undefined) place(node);
    },
    telemetry(nodeId, frame) {
      const node = known(nodeId);
      if (node.decoder === null) {
        throw new Fault('LINK_FRAME_EARLY', 'a telemetry frame came before its dictionary');
      }
      node.window = node.decoder.decode(frame);
      node.windowMonotonicMs = clock.monotonicMs();
    },
    name: (nodeId) => nodes.get(nodeId)?.record.name ?? nodeId,
    isReachable: (nodeId) => nodes.get(nodeId)?.ready === true,
    seenMonotonicMs: (nodeId) => nodes.get(nodeId)?.lastSeenMonotonicMs ?? null,
    silentSeconds(nodeId) {
      const node = nodes.get(nodeId);
      return node === undefined ? null : silentSeconds(node);
    },
    view(nodeId) {
      const node = nodes.get(nodeId);
      if (node === undefined) return null;
      const seen = view(node);
      const heir = node.session === null ? heirOf(node) : null;
      if (heir === null) return seen;
      const hint = `${heir} of the same name is connected: if the host was installed anew, "flopd node ${nodeId} --remove" ends what was with this one`;
      return { ...seen, reason: `${seen.reason}; ${hint}` };
    },
    views: () => [...nodes.values()].map(view),
    find(text) {
      if (nodes.has(text)) return [text];
      const all = [...nodes.values()];
      const named = all.filter((node) => node.record.name === text);
      const found =
        named.length > 0 || !isIdStart('node', text)
          ? named
          : all.filter((node) => node.record.id.startsWith(text));
      return found.map((node) => node.record.id);
    },
    overview() {
      return [...nodes.values()].map((node) => {
        const host = node.window === null ? null : hostView(node.window);
        const peak = node.inventory?.cpuPeakFlops ?? null;
        return {
          name: node.record.name,
          state: node.ready ? ('ready' as const) : ('unreachable' as const),
          cpuThreads: node.inventory?.cpuThreads ?? null,
          cpuBusyRatio: host?.cpu.busyRatio ?? null,
          memoryTotalBytes: host?.memory.totalBytes ?? null,
          memoryUsedBytes: host?.memory.usedBytes ?? null,
          powerWatts: host?.powerWatts ?? null,
          peakFlopsFp64: peak === null ? null : (peak.computed.fp64 ?? peak.measured.fp64),
          devices: node.devices.filter(({ parentSlot }) => parentSlot === null).length,
          hostAgeSeconds: hostAgeSeconds(node),
        };
      });
    },
    counts() {
      let ready = 0;
      for (const node of nodes.values()) if (node.ready) ready += 1;
      return { ready, unreachable: nodes.size - ready };
    },
  };
}

/** Its record is kept so that its credential is not good for coming back. */
export function isRemoved({ removedAtMs }: NodeRecord): boolean {
  return removedAtMs !== undefined;
}

/** Nothing but an operator keeps jobs away from it. */
function isOpen({ ready, paused, refusing }: Node): boolean {
  return ready && !paused && refusing === null;
}

function placementNode(node: Node, cordons: Cordons, nowMs: number): PlacementNode {
  const { record, inventory } = node;
  return {
    id: record.id,
    name: record.name,
    // Rounded down to whole hundredths, and past the noise of binary fractions.
    cpuHundredths: inventory === null ? 0 : Math.floor(inventory.jobCpus * 100 + 1e-6),
    memoryBytes: inventory?.jobMemoryBytes ?? 0,
    executors: inventory?.executors ?? [],
    devices: placementDevices(node.devices, cordons, nowMs),
    available: isOpen(node) && cordons.node === null && record.cloned === undefined,
    drained: cordons.node === null ? null : describeCordon(cordons.node),
    cloned: record.cloned !== undefined,
    paused: node.ready && node.paused,
    refusing: node.ready ? node.refusing : null,
    unseen: inventory === null,
    place: placeOf(record),
    dataClasses: inventory?.dataClasses ?? [],
  };
}
