// A taken-over agent and the commands beside jobs that pass through it: it may end them and withhold what was typed. It
// types nothing itself, neither by words of its own nor by those of the scheduler in another order.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeExecFrame } from '../../../src/protocol/exec.ts';
import { createInputSigner, type ExecInput, type InputSigner } from '../../../src/protocol/exec-input.ts';
import { ORDER_LIFE_MS } from '../../../src/protocol/order.ts';
import { sealExec, sealStop } from '../../../src/protocol/order-seal.ts';
import { encodeFrame } from '../../../src/runner/framing.ts';
import { createRunnerBed, nodeId, type Peer, type RunnerBed, schedulerId, signedStart } from './bed.ts';

let bed: RunnerBed;
let agent: Peer;
let opened = 0;
beforeAll(async () => {
  bed = createRunnerBed();
  await bed.start();
  agent = await bed.agent();
  agent.say({
    type: 'order',
    request: 1,
    order: signedStart(bed.keys.seal, 'job-open', { command: ['sleep', '1000'] }),
  });
  await agent.next('jobStarted');
});
afterAll(async () => {
  const nowMs = Date.now();
  const fields = { schedulerId, nodeId, orderId: 'order-stop', jobId: 'job-open', epoch: 1 };
  const stamps = { issuedAtMs: nowMs, expiresAtMs: nowMs + ORDER_LIFE_MS, by: 'alice', reason: 'done' };
  const end = await bed.agent();
  end.say({ type: 'order', request: 1, order: sealStop(bed.keys.seal, { ...fields, ...stamps }) });
  await end.ended('job-open');
  await bed.close();
});

/** A shell beside the job, as the scheduler orders it. */
interface Shell {
  readonly execId: string;
  readonly signer: InputSigner;
  typed(text: string): { readonly bytes: Buffer; readonly proof: ReturnType<InputSigner['prove']> };
  send(piece: { readonly bytes: Buffer; readonly proof?: ReturnType<InputSigner['prove']> }): void;
}

function order(execId: string, inputKey: string | null): void {
  const nowMs = Date.now();
  const fields = {
    ...{ schedulerId, nodeId, orderId: `order-${opened}`, jobId: 'job-open', epoch: 1, execId, by: 'alice' },
    ...{ issuedAtMs: nowMs, expiresAtMs: nowMs + ORDER_LIFE_MS },
    ...(inputKey === null ? {} : { inputKey }),
  };
  agent.say(sealExec(bed.keys.seal, fields, { command: ['sh'], terminal: null, terminalType: null }));
}

function openShell(isSigned = true): Shell {
  opened += 1;
  const execId = `exec-open${opened}`;
  const signer = createInputSigner(execId);
  order(execId, isSigned ? signer.publicKey : null);
  return {
    execId,
    signer,
    typed(text) {
      const bytes = Buffer.from(text);
      return { bytes, proof: signer.prove({ kind: 'input', bytes } satisfies ExecInput) };
    },
    send: ({ bytes, proof }) =>
      agent.raw(encodeFrame(encodeExecFrame({ execId, channel: 'stdin', bytes, proof }))),
  };
}

const mark = (name: string): string => join(bed.folder, name);
const bad = (): Buffer => Buffer.from(`touch ${JSON.stringify(mark('bad'))}\n`);

describe('a taken-over agent, and a shell beside a job', () => {
  test('passes on what was typed, also to one whose order comes from a scheduler that signs no input', async () => {
    for (const isSigned of [true, false]) {
      const shell = openShell(isSigned);
      const touch = shell.typed(`touch ${JSON.stringify(mark(`good-${isSigned}`))}; exit 7\n`);
      shell.send(isSigned ? touch : { bytes: touch.bytes });
      expect(await agent.execEnd(shell.execId)).toMatchObject({ exitCode: 7, code: null });
      expect(existsSync(mark(`good-${isSigned}`))).toBe(true);
    }
  });

  test.each<[string, (shell: Shell) => void, string]>([
    ['types itself', (shell) => shell.send({ bytes: bad() }), 'EXEC_INPUT_UNSIGNED'],
    ['ends its input', (shell) => shell.send({ bytes: Buffer.alloc(0) }), 'EXEC_INPUT_UNSIGNED'],
    [
      'makes up a size',
      ({ execId }) => agent.say({ type: 'execResize', execId, rows: 1, columns: 1 }),
      'EXEC_INPUT_UNSIGNED',
    ],
    [
      'makes up a signal',
      ({ execId }) => agent.say({ type: 'execSignal', execId, signal: 10 }),
      'EXEC_INPUT_UNSIGNED',
    ],
    [
      'signs by itself',
      (shell) => {
        shell.typed('true\n');
        const own = createInputSigner(shell.execId);
        shell.send({ bytes: bad(), proof: own.prove({ kind: 'input', bytes: bad() }) });
      },
      'EXEC_INPUT_SIGNATURE',
    ],
    ['changes it', (shell) => shell.send({ ...shell.typed('true\n'), bytes: bad() }), 'EXEC_INPUT_SIGNATURE'],
    [
      'passes off the input of another command',
      (shell) => {
        const other = createInputSigner('exec-other');
        shell.send({ bytes: bad(), proof: other.prove({ kind: 'input', bytes: bad() }) });
      },
      'EXEC_INPUT_SIGNATURE',
    ],
    [
      'repeats it',
      (shell) => {
        const once = shell.typed(
          `test -e ${JSON.stringify(mark('x'))} && ${bad()}; touch ${JSON.stringify(mark('x'))}\n`,
        );
        shell.send(once);
        shell.send(once);
      },
      'EXEC_INPUT_SEQUENCE',
    ],
    [
      'changes the order',
      (shell) => {
        shell.typed('exit 0\n');
        shell.send({ ...shell.typed(bad().toString()) });
      },
      'EXEC_INPUT_SEQUENCE',
    ],
    [
      'leaves something out',
      (shell) => {
        shell.send(shell.typed('if false\n'));
        shell.typed('then\n');
        shell.send(shell.typed(bad().toString()));
      },
      'EXEC_INPUT_SEQUENCE',
    ],
  ])('that %s ends it, and nothing of that is run', async (_, attack, code) => {
    const shell = openShell();
    attack(shell);
    const { exitCode, message, code: told } = await agent.execEnd(shell.execId);
    expect([exitCode, told]).toEqual([null, code]);
    expect(message).toContain('input of the command was refused');
    expect(existsSync(mark('bad'))).toBe(false);
    expect(bed.lines.some(({ fields }) => fields.code === code)).toBe(true);
  });

  test('puts no key of its own into an order', async () => {
    opened += 1;
    const execId = `exec-open${opened}`;
    const own = createInputSigner(execId);
    const nowMs = Date.now();
    const fields = {
      ...{ schedulerId, nodeId, orderId: 'order-key', jobId: 'job-open', epoch: 1, execId, by: 'alice' },
      ...{
        issuedAtMs: nowMs,
        expiresAtMs: nowMs + ORDER_LIFE_MS,
        inputKey: createInputSigner(execId).publicKey,
      },
    };
    const good = sealExec(bed.keys.seal, fields, { command: ['sh'], terminal: null, terminalType: null });
    const body = good.signed.body.replace(fields.inputKey, own.publicKey);
    expect(body).not.toBe(good.signed.body);
    agent.say({ ...good, signed: { ...good.signed, body } });
    expect(await agent.execEnd(execId)).toMatchObject({ code: 'ORDER_SIGNATURE' });
  });
});
