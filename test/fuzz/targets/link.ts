// What the two ends of the link read of each other: messages, and frames of telemetry, output and commands.
import { crc32 } from 'node:zlib';
import * as z from 'zod';
import { parseSchedulerMessage } from '../../../src/link/message.ts';
import type { Column } from '../../../src/protocol/columns.ts';
import { devicesSchema, dictionarySchema } from '../../../src/protocol/control.ts';
import { deviceViews } from '../../../src/protocol/device-view.ts';
import { decodeExecFrame, encodeExecFrame } from '../../../src/protocol/exec.ts';
import {
  createFrameDecoder,
  createFrameEncoder,
  decodeOutputChunk,
  dictionaryOf,
  encodeOutputChunk,
} from '../../../src/protocol/frame.ts';
import { ColumnCodec } from '../../../src/protocol/frame-columns.ts';
import { hostView } from '../../../src/protocol/host.ts';
import { RangeDecoder } from '../../../src/protocol/range-coder.ts';
import { parseAgentMessage } from '../../../src/scheduler/agent-message.ts';
import { parseJson } from '../../../src/scheduler/json.ts';
import { sampleFleet } from '../../fakes/fleet.ts';
import { messages } from '../../unit/protocol/messages.ts';
import { column, makeWindow } from '../../unit/protocol/windows.ts';
import { insist, jsonOf, type Target } from '../target.ts';

const of = (side: string): Uint8Array[] =>
  Object.entries(messages).flatMap(([name, message]) => (name.startsWith(side) ? [jsonOf(message)] : []));

const viewed = z.object({ dictionary: dictionarySchema, devices: devicesSchema.shape.devices });

interface Read {
  readonly message: object | null;
  readonly ignored: readonly string[];
}

/** What was read is read again as the same: nothing was let through that its own schema would change. */
function readsAgain(read: (bytes: Uint8Array) => Read): (made: unknown) => void {
  return (made) => {
    const { message, ignored } = made as Read;
    insist(ignored.join('').length < 1024 * 1024, 'more was ignored than a log should hold');
    if (message === null || ('type' in message && message.type === 'unfit')) return;
    const again = read(jsonOf(message));
    insist(JSON.stringify(again.message) === JSON.stringify(message), 'it is read otherwise the second time');
  };
}

const columns: Column[] = [
  column('cpu.busyRatio'),
  column('power.watts{board}'),
  column('memory.usedBytes'),
  column('cpu.load1'),
];
const windows = [1, 2, 3, 4].map((sequence) =>
  makeWindow(columns, [0.5 / sequence, 300 + sequence, 1e9 * sequence, 'unsupported'], {
    sequence,
    endMs: 1_795_000_000_000 + sequence * 1000,
  }),
);
const CHECK_BYTES = 3;

function frames(): Uint8Array[] {
  const encoder = createFrameEncoder();
  return windows.map((window) => encoder.encode(window));
}

/** The check of a key frame that says what its mutant says. */
function mendFrame(frame: Uint8Array): Uint8Array {
  if (frame.length <= CHECK_BYTES) return frame;
  const mended = Buffer.from(frame);
  const { generation } = windows[0] ?? { generation: 1 };
  const { check } = new ColumnCodec(generation, columns, new RangeDecoder());
  const end = mended.length - CHECK_BYTES;
  const sum = crc32(mended.subarray(0, end), check);
  for (let at = 0; at < CHECK_BYTES; at += 1) mended[end + at] = (sum >>> (8 * at)) & 0xff;
  return mended;
}

const execFrame = { execId: 'exec-abc', channel: 'stdout', bytes: Buffer.from('hello') } as const;

export const linkTargets: readonly Target[] = [
  {
    name: 'agent-message',
    faults: /^LINK_(JSON|MESSAGE)$/,
    seeds: () => of('agent.'),
    read: parseAgentMessage,
    check: readsAgain(parseAgentMessage),
    weight: 2,
  },
  {
    name: 'scheduler-message',
    faults: /^LINK_(FRAME_TOO_LONG|MESSAGE_NESTED|MESSAGE_SYNTAX|MESSAGE_INVALID)$/,
    seeds: () => of('scheduler.'),
    read: parseSchedulerMessage,
    check: readsAgain(parseSchedulerMessage),
    weight: 2,
  },
  {
    name: 'telemetry',
    faults: /^LINK_FRAME_/,
    seeds: frames,
    // Alone, and behind a frame that it may refer to.
    read(input) {
      const decoder = createFrameDecoder(dictionaryOf(windows[0] as (typeof windows)[0]));
      try {
        decoder.decode(frames()[0] ?? new Uint8Array());
        return decoder.decode(input);
      } catch {
        return createFrameDecoder(dictionaryOf(windows[0] as (typeof windows)[0])).decode(input);
      }
    },
    mend: mendFrame,
    check(made) {
      const { values, reasons, sequence } = made as {
        values: Float64Array;
        reasons: Uint8Array;
        sequence: number;
      };
      insist(values.length === columns.length * 4 && reasons.length === columns.length, 'other columns');
      insist(Number.isSafeInteger(sequence) && sequence >= 0, `sequence ${sequence}`);
      insist(!values.some((value) => value === Infinity || value === -Infinity), 'an infinite value');
    },
  },
  {
    name: 'dictionary',
    faults: /^(LINK_|FRAME_)/,
    seeds: () => [jsonOf(dictionaryOf(windows[0] as (typeof windows)[0]))],
    read(input) {
      const parsed = dictionarySchema.safeParse(parseJson(input, 'LINK'));
      if (!parsed.success) return null;
      createFrameDecoder(parsed.data);
      return parsed.data.columns.length;
    },
  },
  {
    // What clients see of a node: names of columns, labels and devices are the agent's words.
    name: 'views',
    faults: /^LINK_/,
    seeds: () => [
      jsonOf({
        dictionary: dictionaryOf(windows[0] as (typeof windows)[0]),
        devices: sampleFleet('1xH100,1xAscend910B3').records,
      }),
    ],
    read(input) {
      const parsed = viewed.safeParse(parseJson(input, 'LINK'));
      if (!parsed.success) return null;
      const { dictionary, devices } = parsed.data;
      const window = makeWindow(
        dictionary.columns,
        dictionary.columns.map(() => 1),
      );
      return [hostView(window), deviceViews(devices, window, 0)];
    },
    check: (made) => insist(JSON.stringify(made) !== undefined, 'it has no text'),
  },
  {
    name: 'output-chunk',
    faults: /^LINK_FRAME_/,
    seeds: () => [
      encodeOutputChunk({
        jobId: 'job-7k3m',
        epoch: 300,
        stream: 'stderr',
        offset: 2 ** 40,
        bytes: Buffer.from('x'),
      }),
    ],
    read: decodeOutputChunk,
    check(made) {
      const chunk = made as ReturnType<typeof decodeOutputChunk>;
      const again = decodeOutputChunk(encodeOutputChunk(chunk));
      insist(JSON.stringify(again) === JSON.stringify(chunk), 'it is written as another');
    },
  },
  {
    name: 'exec-frame',
    faults: /^LINK_FRAME_/,
    seeds: () => [
      encodeExecFrame(execFrame),
      encodeExecFrame({ ...execFrame, channel: 'stdin' }),
      encodeExecFrame({
        ...execFrame,
        channel: 'stdin',
        proof: { sequence: 7, signature: Buffer.alloc(64, 9).toString('base64') },
      }),
    ],
    read: decodeExecFrame,
    check(made, input) {
      const again = encodeExecFrame(made as ReturnType<typeof decodeExecFrame>);
      insist(Buffer.from(again).equals(Buffer.from(input)), 'it is written as another');
    },
  },
];
