// The flags of what a job may use at most besides CPUs and memory, and whether it has a network.
import type { Command } from 'commander';
import { parseBytes, parseChoice, parseInteger } from '../config/value.ts';
import type { JobSpecInput } from '../protocol/spec.ts';
import { readGivenFlag } from './usage.ts';

export interface LimitFlags {
  readonly network?: string;
  readonly processes?: string;
  readonly diskRead?: string;
  readonly diskWrite?: string;
  readonly outputQuota?: string;
}

export function addLimitOptions(command: Command): Command {
  return command
    .option('--network <NETWORK>', 'host, or none: not even the loopback of the host (default host)')
    .option('--processes <N>', "processes and threads at the same time (default: the node's own limit)")
    .option('--disk-read <SIZE>', 'bytes a second that it may read from the disk of its workspace: 100MiB')
    .option('--disk-write <SIZE>', 'bytes a second that it may write to it')
    .option(
      '--output-quota <SIZE>',
      "most bytes of each output stream that are kept (default: the node's own limit)",
    );
}

/** Field of the specification by its flag, for refusals. */
export const limitFlags: Readonly<Record<string, string>> = {
  network: '--network',
  outputQuotaBytes: '--output-quota',
  'resources.processes': '--processes',
  'resources.diskReadBytesPerSecond': '--disk-read',
  'resources.diskWriteBytesPerSecond': '--disk-write',
};

export function readLimitFlags(flags: LimitFlags): {
  readonly spec: Partial<JobSpecInput>;
  readonly resources: Partial<NonNullable<JobSpecInput['resources']>>;
} {
  const rate = (text: string): number => parseBytes(text, { min: 1024, max: Number.MAX_SAFE_INTEGER });
  const network = readGivenFlag('--network', flags.network, (text) =>
    parseChoice(text, ['host', 'none'] as const, 'a network'),
  );
  const outputQuotaBytes = readGivenFlag('--output-quota', flags.outputQuota, (text) =>
    parseBytes(text, { min: 4096, max: Number.MAX_SAFE_INTEGER }),
  );
  const processes = readGivenFlag('--processes', flags.processes, (text) =>
    parseInteger(text, { min: 1, max: 4_194_304 }, '100'),
  );
  const readRate = readGivenFlag('--disk-read', flags.diskRead, rate);
  const writeRate = readGivenFlag('--disk-write', flags.diskWrite, rate);
  return {
    spec: {
      ...(network === undefined ? {} : { network }),
      ...(outputQuotaBytes === undefined ? {} : { outputQuotaBytes }),
    },
    resources: {
      ...(processes === undefined ? {} : { processes }),
      ...(readRate === undefined ? {} : { diskReadBytesPerSecond: readRate }),
      ...(writeRate === undefined ? {} : { diskWriteBytesPerSecond: writeRate }),
    },
  };
}
