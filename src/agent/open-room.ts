// The job room of this agent: in this process, or where a runner's socket is named, in the runner's. Then the runner is
// told what it must know of the devices, and this agent carries the files of jobs for it.
import { connect } from 'node:net';
import type { Audit } from '../audit/audit.ts';
import type { Bank } from '../device/bank.ts';
import type { Dialer } from '../dial/dialer.ts';
import type { AgentMetrics } from '../exporter/agent-metrics.ts';
import type { Link } from '../link/link.ts';
import {
  type JobHost,
  type JobRoom,
  type JobRoomEvents,
  type JobRoomParts,
  prepareJobRoom,
} from '../runner/job-room.ts';
import { openRemoteJobs } from '../runner/remote-jobs.ts';
import type { JobEnergy } from './energy.ts';
import { createFileRelay } from './file-relay.ts';
import { fileHeaders } from './holders.ts';
import type { Identity } from './identity.ts';

/** So that the list fits a frame, whatever is wrong with each. */
const TOLD_DEVICES_MAX = 1024;

export interface RoomParts {
  readonly identity: Identity;
  readonly capacity: JobRoomParts['capacity'];
  readonly bank: Bank;
  readonly energy: JobEnergy;
  readonly link: Link;
  readonly metrics: AgentMetrics;
  /** The scheduler's base URL, and the way there. */
  readonly url: string;
  readonly dialer: Dialer;
  readonly audit: Audit;
  readonly safeMode: () => string | null;
  readonly random: () => number;
}

export interface AgentRoom extends JobRoom {
  /** The devices of this host are others now. */
  devicesChanged(): void;
}

/** Begins to look at the host at once, where the job room is here. */
export function prepareRoom(
  host: JobHost,
  socketPath: string | null,
): { open(parts: RoomParts): Promise<AgentRoom> } {
  if (socketPath !== null) return { open: async (parts) => openRemoteRoom(host, socketPath, parts) };
  const prepared = prepareJobRoom(host);
  return {
    async open(parts) {
      const { identity, capacity, bank, url, dialer, link, audit, safeMode } = parts;
      const room = await prepared.open({
        ...commonOf(parts),
        schedulerId: identity.schedulerId,
        trustsFirst: true,
        capacity,
        devices: bank,
        audit,
        safeMode,
        access: (jobId, epoch) => ({
          url,
          dialer,
          headers: () => fileHeaders(link.fileTicket(), jobId, epoch),
        }),
      });
      return { ...room, devicesChanged() {} };
    },
  };
}

function openRemoteRoom(host: JobHost, socketPath: string, parts: RoomParts): AgentRoom {
  const { clock } = host;
  const { bank, url, dialer, link, random } = parts;
  const log = host.log.child({ room: 'runner' });
  const relay = createFileRelay({ url, dialer, ticket: () => link.fileTicket(), log });
  const room = openRemoteJobs(
    { connect: () => connect(socketPath), path: socketPath, clock, log, random },
    { ...commonOf(parts), devices: () => tellDevices(bank), files: (socket) => relay.serve(socket) },
  );
  return {
    ...room,
    async close() {
      await room.close();
      relay.close();
    },
  };
}

function commonOf({ identity, energy, link, bank, metrics }: RoomParts) {
  const events: JobRoomEvents = {
    granted: (jobId, epoch, cpus, devices) => energy.granted(jobId, epoch, cpus, devices),
    changed: (why) => link.renew(why),
    unfit: (ids, finding) => bank.unfit(ids, finding),
    started(jobId, epoch, pid, startedAtMs) {
      energy.started(jobId, epoch);
      link.started(jobId, epoch, pid, startedAtMs);
    },
    progress: (...told) => link.progress(...told),
    outputGrew: (...grown) => link.outputGrew(...grown),
    settled: ({ state }) => metrics.countEndedJob(state),
    ended: (result) => link.ended(result),
  };
  return {
    nodeId: identity.nodeId,
    bootId: identity.bootId,
    credential: identity.signedCredential,
    energy: (jobId: string, epoch: number) => energy.settle(jobId, epoch),
    events,
  };
}

function tellDevices(bank: Pick<Bank, 'records' | 'grantFacts'>) {
  const { vendors, devices } = bank.grantFacts();
  const facts = new Map(devices.map((each) => [each.id, each]));
  return {
    vendors: [...vendors],
    devices: bank
      .records()
      .slice(0, TOLD_DEVICES_MAX)
      .flatMap((record) => {
        const known = facts.get(record.id);
        if (known === undefined) return [];
        const { slot, parentSlot, id, index, rung, faults, cordon } = record;
        const worst = faults.filter((fault) => fault.rung === rung).slice(0, 1);
        const { vendor, parentId, nodeNumber } = known;
        return [{ slot, parentSlot, id, index, vendor, parentId, nodeNumber, rung, faults: worst, cordon }];
      }),
  };
}
