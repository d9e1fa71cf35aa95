// What users and jobs write: specifications, lists of files, figures of a job; and what shims and journals keep.

import { parseInspected } from '../../../src/job/executor/container-end.ts';
import { createEnterReader, parseEnterEnd } from '../../../src/job/executor/enter.ts';
import type { ProcessEnd } from '../../../src/job/executor/executor.ts';
import { parseEnd, parseRecord, parseStarted } from '../../../src/job/executor/shim-files.ts';
import { parseShimLine } from '../../../src/job/executor/shim-link.ts';
import { encodeRecord, parseJournal } from '../../../src/job/journal-format.ts';
import { parseMeter } from '../../../src/job/meter.ts';
import { settleJob } from '../../../src/job/settle.ts';
import { builtInCorridors } from '../../../src/protocol/corridor.ts';
import { decidePlacement } from '../../../src/protocol/data-policy.ts';
import { encodeEntry, readEntries, TREE_HEAD, type TreeEntry } from '../../../src/protocol/files.ts';
import { nowhere } from '../../../src/protocol/place.ts';
import { jobResultSchema } from '../../../src/protocol/result.ts';
import { type JobSpec, jobSpecSchema } from '../../../src/protocol/spec.ts';
import { check } from '../../../src/scheduler/http.ts';
import { parseJson } from '../../../src/scheduler/json.ts';
import { startOrder } from '../../unit/job/samples.ts';
import { spec } from '../../unit/protocol/messages.ts';
import { bytesOf, insist, jsonOf, type Target, textOf } from '../target.ts';

const data = {
  class: 'personal',
  origin: 'CN-GD',
  originCity: 'Shenzhen',
  allowed: ['CN-GD', 'HK'],
  filing: { number: '17', expiresAt: '2027-03-31' },
};
const NOW_MS = Date.parse('2026-11-28T00:00:00Z');
const digest = 'a'.repeat(64);

const entries: readonly TreeEntry[] = [
  { kind: 'folder', path: 'a' },
  { kind: 'file', path: 'a/b.txt', sizeBytes: 12, digest, executable: true },
  { kind: 'link', path: 'a/c', target: 'b.txt' },
] as readonly TreeEntry[];

const ended = {
  startedAtMs: 1_795_000_000_000,
  endedAtMs: 1_795_000_001_000,
  durationUs: 1_000_000,
  userUs: 500_000,
  systemUs: 10_000,
  maxResidentBytes: 1_048_576,
  stdoutBytes: 12,
  stderrBytes: 0,
};

const record = (fields: Readonly<Record<string, string | number>>): string =>
  `${Object.entries(fields)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')}\n`;

export const jobTargets: readonly Target[] = [
  {
    name: 'spec',
    faults: /^API_(JSON|INVALID)$/,
    seeds: () => [
      jsonOf(spec),
      jsonOf({ ...spec, data }),
      jsonOf({ ...spec, array: { first: 0, last: 9 }, retry: { times: 3 } }),
    ],
    read: (input) => check(parseJson(input, 'API'), jobSpecSchema),
    check(made) {
      const read = made as JobSpec;
      insist(
        JSON.stringify(jobSpecSchema.parse(read)) === JSON.stringify(read),
        'it is read otherwise the second time',
      );
      insist(
        (read.command[0] ?? '') !== '' && !read.command.join('').includes('\0'),
        'a command that is none',
      );
      if (read.data == null) return;
      for (const jurisdiction of [null, 'CN-GD', 'HK', 'cn-gd', 'CN-HK']) {
        const refusal = decidePlacement(
          read.data,
          { ...nowhere, jurisdiction },
          { corridors: builtInCorridors },
          NOW_MS,
        );
        const isKnown = jurisdiction === 'CN-GD' || jurisdiction === 'HK';
        insist(isKnown || refusal !== null, `data at ${jurisdiction}`);
        insist((refusal?.message.length ?? 0) <= 1024, 'a refusal that no acknowledgement holds');
      }
    },
    weight: 2,
  },
  {
    name: 'file-list',
    faults: /^FILES_LIST_INVALID$/,
    seeds: () => [bytesOf(TREE_HEAD + entries.map(encodeEntry).join(''))],
    async read(input) {
      const found: TreeEntry[] = [];
      const half = input.length >> 1;
      for await (const piece of readEntries([input.subarray(0, half), input.subarray(half)]))
        found.push(...piece);
      return found;
    },
    check(made, input) {
      const found = made as TreeEntry[];
      insist(TREE_HEAD + found.map(encodeEntry).join('') === textOf(input), 'it is written as another');
      for (const { path } of found)
        insist(
          !path.startsWith('/') && !path.split('/').some((step) => step === '..' || step === ''),
          `path ${path}`,
        );
    },
  },
  {
    name: 'journal',
    faults: /^never$/,
    seeds: () => [
      bytesOf(
        [
          { kind: 'accepted', jobId: 'job-a', epoch: 1 },
          { kind: 'stop', by: 'user' },
          { kind: 'result', list: [1, 2] },
        ]
          .map(encodeRecord)
          .join(''),
      ),
    ],
    read: parseJournal,
  },
  {
    name: 'shim-end',
    faults: /^never$/,
    seeds: () => [
      bytesOf(record({ 'flopd-end': 1, kind: 'exited', exitCode: 3, ...ended, complete: 1 })),
      bytesOf(
        record({
          'flopd-end': 1,
          kind: 'signalled',
          signal: 9,
          stopped: 'lease',
          killed: 1,
          ...ended,
          oomKills: 2,
          oomAtMs: 1_795_000_000_500,
          checkpointAtMs: 1_795_000_000_600,
          gap: 'stdout quota 10 20',
          refused: 'memory.max 13',
          complete: 1,
        }),
      ),
      bytesOf(
        record({
          'flopd-end': 1,
          kind: 'failedToStart',
          failedStep: 'exec',
          errno: 2,
          ...ended,
          detail: 'x',
          complete: 1,
        }),
      ),
    ],
    read: (input) => parseEnd(textOf(input)),
    // Whatever a damaged disk makes of it, the result is one that the scheduler takes: else no session would stand.
    check(made) {
      if (made === null) return;
      const end = made as ProcessEnd;
      for (const order of [null, startOrder('job-a', 1, { timeLimitMs: 60_000, outputs: [] })]) {
        const result = settleJob({
          ...{
            jobId: 'job-a',
            epoch: 1,
            nodeId: 'node-a',
            order,
            granted: null,
            walled: null,
            outputQuotaBytes: 1024,
          },
          ...{ end, stop: null, meter: null, energy: { absent: 'nobody measures' } },
        });
        const parsed = jobResultSchema.safeParse(result);
        insist(
          parsed.success,
          `a result that no scheduler takes: ${parsed.error?.issues[0]?.path.join('.')}`,
        );
      }
    },
  },
  {
    name: 'shim-started',
    faults: /^never$/,
    seeds: () => [
      bytesOf(record({ 'flopd-started': 1, pid: 17, bootId: 'b', wallMs: 1_795_000_000_000, complete: 1 })),
    ],
    read: (input) => [parseRecord(textOf(input)), parseStarted(textOf(input))],
  },
  {
    name: 'shim-line',
    faults: /^never$/,
    seeds: () =>
      [
        'started pid=17 wall=1795000000000',
        'output stdout=12 stderr=5',
        'ended',
        'hello job-a.1 17',
        'offered pid=17 fd=3',
        'refused job-a.1 28',
      ].map(bytesOf),
    read: (input) => textOf(input).split('\n').map(parseShimLine),
  },
  {
    name: 'enter-frame',
    faults: /^never$/,
    seeds: () => [Buffer.from([0x6f, 2, 0, 0, 0, 0x68, 0x69, 0x65, 5, 0, 0, 0, 0, 7, 0, 0, 0])],
    read(input) {
      const found: unknown[] = [];
      const reader = createEnterReader((kind, payload) =>
        found.push([kind, payload.length, parseEnterEnd(payload)]),
      );
      const half = input.length >> 1;
      return [
        reader.push(Buffer.from(input.subarray(0, half))) && reader.push(Buffer.from(input.subarray(half))),
        found,
      ];
    },
  },
  {
    name: 'meter',
    faults: /^never$/,
    seeds: () => [bytesOf('flop=85899345920 seconds=2.05 precision=fp64\nflop=1e12\n')],
    read: (input) => parseMeter(textOf(input), false),
    check(made) {
      const { flop, seconds } = made as ReturnType<typeof parseMeter>;
      for (const value of [flop, seconds])
        insist(value === null || (Number.isFinite(value) && value >= 0), `the figure ${value}`);
    },
  },
  {
    name: 'container-end',
    faults: /^never$/,
    seeds: () => [
      jsonOf([
        {
          Id: 'a',
          State: {
            Status: 'exited',
            ExitCode: 3,
            OOMKilled: false,
            Pid: 0,
            StartedAt: '2026-11-28T00:00:00Z',
          },
        },
      ]),
    ],
    read: (input) => parseInspected(textOf(input)),
  },
];
