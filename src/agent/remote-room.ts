// The job room of this agent when a runner holds it: what the runner must know of the devices, and the files that this
// agent carries for it.
import { connect } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Bank } from '../device/bank.ts';
import type { Dialer } from '../dial/dialer.ts';
import type { JobRoomParts } from '../runner/job-room.ts';
import { openRemoteJobs, type RemoteJobRoom } from '../runner/remote-jobs.ts';
import { createFileRelay } from './file-relay.ts';

export interface RemoteRoomParts
  extends Pick<JobRoomParts, 'nodeId' | 'bootId' | 'energy' | 'events' | 'credential'> {
  readonly socketPath: string;
  readonly bank: Pick<Bank, 'records' | 'grantFacts'>;
  /** The scheduler's base URL, the way there, and what opens its store of files. */
  readonly url: string;
  readonly dialer: Dialer;
  readonly ticket: () => string | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
}

export function openRemoteRoom(parts: RemoteRoomParts): RemoteJobRoom {
  const { socketPath, bank, clock, random } = parts;
  const log = parts.log.child({ room: 'runner' });
  const relay = createFileRelay({ ...parts, log });
  const room = openRemoteJobs(
    { connect: () => connect(socketPath), path: socketPath, clock, log, random },
    { ...parts, devices: () => tellDevices(bank), files: (socket) => relay.serve(socket) },
  );
  return {
    ...room,
    async close() {
      await room.close();
      relay.close();
    },
  };
}

function tellDevices(bank: RemoteRoomParts['bank']) {
  const { vendors, devices } = bank.grantFacts();
  const facts = new Map(devices.map((each) => [each.id, each]));
  return {
    vendors: [...vendors],
    devices: bank.records().flatMap((record) => {
      const known = facts.get(record.id);
      if (known === undefined) return [];
      const { slot, parentSlot, id, index, rung, faults, cordon } = record;
      const worst = faults.filter((fault) => fault.rung === rung).slice(0, 1);
      const { vendor, parentId, nodeNumber } = known;
      return [{ slot, parentSlot, id, index, vendor, parentId, nodeNumber, rung, faults: worst, cordon }];
    }),
  };
}
