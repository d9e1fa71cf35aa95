// Sessions that real peers of each version had (fixtures/protocol/, recorded by record.mjs there): this build reads every
// message of them, from either side, and leaves nothing out. What is recorded is never made to fit: a change that breaks
// this needs a new version.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parseSchedulerMessage } from '../../../src/link/message.ts';
import {
  type Dictionary,
  type SchedulerMessage,
  schedulerMessageSchema,
} from '../../../src/protocol/control.ts';
import { decodeExecFrame } from '../../../src/protocol/exec.ts';
import { createInputVerifier } from '../../../src/protocol/exec-input.ts';
import { createFrameDecoder, decodeOutputChunk, frameKind } from '../../../src/protocol/frame.ts';
import { readStatement } from '../../../src/protocol/keys.ts';
import { openExec, openStart, openStop, readStart } from '../../../src/protocol/order-seal.ts';
import { chooseVersion, ownVersions } from '../../../src/protocol/version.ts';
import { parseAgentMessage } from '../../../src/scheduler/agent-message.ts';

const folder = fileURLToPath(new URL('../../fixtures/protocol', import.meta.url));

interface Line {
  readonly from: 'scheduler' | 'agent';
  readonly session: number;
  readonly text?: string;
  readonly frame?: string;
}

function read(file: string): { readonly wallMs: number; readonly lines: readonly Line[] } {
  const [head = '{}', ...rest] = readFileSync(join(folder, file), 'utf8').trim().split('\n');
  return { wallMs: JSON.parse(head).wallMs, lines: rest.map((line) => JSON.parse(line) as Line) };
}

const texts = (lines: readonly Line[], from: Line['from']): readonly string[] =>
  lines.flatMap((line) => (line.from === from && line.text !== undefined ? [line.text] : []));

const files = readdirSync(folder).filter((name) => name.endsWith('.jsonl'));

describe.each(files)('a session of %s', (file) => {
  const { lines } = read(file);
  const version = Number(/^v(\d+)/.exec(file)?.[1]);

  test('is read by an agent of this build', () => {
    const types = texts(lines, 'scheduler').map((text) => {
      const { message, ignored } = parseSchedulerMessage(Buffer.from(text));
      expect(ignored).toEqual([]);
      expect(message?.type).not.toBe('unfit');
      return message?.type;
    });
    const started = version === 1 ? ['start', 'stop', 'exec'] : ['signedStart', 'signedStop', 'signedExec'];
    const always = ['challenge', 'welcome', 'heartbeat', 'ack', 'outputAck', 'report'];
    expect(types).toEqual(expect.arrayContaining([...always, ...started]));
    const challenges = texts(lines, 'scheduler').filter((text) => text.startsWith('{"type":"challenge"'));
    for (const text of challenges)
      expect(chooseVersion(ownVersions, JSON.parse(text).versions)).toBe(version);
  });

  test('is read by a scheduler of this build', () => {
    const types = texts(lines, 'agent').map((text) => {
      const { message, ignored } = parseAgentMessage(Buffer.from(text));
      expect(ignored).toEqual([]);
      if (message?.type === 'hello') expect(chooseVersion(ownVersions, message.versions)).toBe(version);
      return message?.type;
    });
    expect(types).toEqual(
      expect.arrayContaining([
        ...['hello', 'dictionary', 'heartbeat', 'orderAck', 'jobStarted', 'jobResult', 'jobReport'],
        ...['execStarted', 'execCredit', 'execEnd'],
      ]),
    );
  });

  test('has telemetry, output and input that this build decodes', () => {
    let decoder: ReturnType<typeof createFrameDecoder> | null = null;
    const kinds = new Map<string | null, number>();
    for (const { from, text, frame } of lines) {
      if (from === 'agent' && text?.startsWith('{"type":"dictionary"') === true)
        decoder = createFrameDecoder(JSON.parse(text) as Dictionary);
      if (frame === undefined) continue;
      const bytes = Buffer.from(frame, 'base64');
      const kind = frameKind(bytes);
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
      if (kind === 'telemetry') expect(decoder?.decode(bytes).values.length).toBeGreaterThan(10);
      else if (kind === 'exec') expect(decodeExecFrame(bytes).execId).toMatch(/^exec-/);
      else expect(decodeOutputChunk(bytes).jobId).toMatch(/^job-/);
    }
    expect([...kinds.keys()].sort()).toEqual(['exec', 'output', 'telemetry']);
  });
});

test('the orders of version 2 are opened with the keys that the welcome told, as they were signed then', () => {
  const { lines } = read('v2.jsonl');
  const hello = JSON.parse(texts(lines, 'agent').find((text) => text.startsWith('{"type":"hello"')) ?? '{}');
  const messages = texts(lines, 'scheduler').map((text) => schedulerMessageSchema.parse(JSON.parse(text)));
  const of = <T extends SchedulerMessage['type']>(type: T) =>
    messages.filter((message): message is Extract<SchedulerMessage, { type: T }> => message.type === type);
  const [welcome] = of('welcome');
  const statement = welcome?.keys[0] === undefined ? null : readStatement(welcome.keys[0]);
  const reader = (body: string) => ({
    schedulerId: statement?.schedulerId ?? '',
    nodeId: hello.nodeId as string,
    key: (keyId: string) => statement?.keys.find((one) => one.keyId === keyId)?.key ?? null,
    nowMs: JSON.parse(body).issuedAtMs as number,
  });
  for (const order of of('signedStart'))
    expect(openStart(order, reader(order.signed.body)).order.jobId).toBe(order.jobId);
  for (const order of of('signedStop'))
    expect(openStop(order, reader(order.signed.body)).order.jobId).toBe(order.jobId);
  for (const order of of('signedExec'))
    expect(openExec(order, reader(order.signed.body)).order.command).toEqual(['cat']);
  const report = JSON.parse(
    texts(lines, 'agent').find((text) => text.startsWith('{"type":"jobReport"')) ?? '{}',
  );
  expect([report.order, readStart(report.proof).order.jobId]).toEqual([null, report.jobId]);
});

test('input that was signed is let in as it was recorded, by the key that its order names', () => {
  const { lines } = read('v2-input.jsonl');
  const order = texts(lines, 'scheduler').find((text) => text.startsWith('{"type":"signedExec"')) ?? '{}';
  const { execId, signed } = JSON.parse(order);
  const verifier = createInputVerifier(execId, JSON.parse(signed.body).inputKey);
  const pieces = lines.flatMap(({ from, frame }) => {
    const bytes = from === 'scheduler' && frame !== undefined ? Buffer.from(frame, 'base64') : null;
    return bytes !== null && frameKind(bytes) === 'exec' ? [decodeExecFrame(bytes)] : [];
  });
  expect(pieces.map(({ bytes }) => Buffer.from(bytes).toString())).toEqual(['input\n', '']);
  for (const { bytes, proof } of pieces) expect(verifier.problem({ kind: 'input', bytes }, proof)).toBeNull();
});
