// Starts processes of many agents each (main.ts), bundled once, and speaks to all of them as one.
import { fork } from 'node:child_process';
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { makeBundle } from '../../fakes/bundle.mjs';

/** A fleet of `count` agents in `processes` processes; resolves when all are enrolled and begin to connect. */
export async function startFleet({
  url,
  token,
  caFile = null,
  count,
  processes = 1,
  rampMs = 0,
  windowMs = 0,
}) {
  const program = await makeBundle('fleet', join(import.meta.dirname, 'main.ts'));
  const children = [];
  for (let n = 0; n < processes; n += 1) {
    const child = fork(program, {
      execArgv: [],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    child.gone = new Promise((resolve) => child.once('exit', resolve));
    children.push(child);
  }
  const answer = (child, type) =>
    new Promise((resolve, reject) => {
      const look = (message) => {
        if (message.type !== type) return;
        child.off('message', look);
        resolve(message);
      };
      child.on('message', look);
      void child.gone.then(() => reject(new Error('a process of the fleet ended')));
    });
  const share = Math.ceil(count / processes);
  await Promise.all(
    children.map((child, n) => {
      const enrolled = answer(child, 'enrolled');
      const mine = Math.max(0, Math.min(share, count - n * share));
      child.send({ type: 'start', url, token, caFile, count: mine, prefix: `fleet-${n}`, rampMs, windowMs });
      return enrolled;
    }),
  );
  return {
    /** From now on sessions, attempts and reasons are counted anew. */
    mark() {
      for (const child of children) child.send({ type: 'mark' });
    },
    async state() {
      const states = await Promise.all(
        children.map((child) => {
          const told = answer(child, 'state');
          child.send({ type: 'ask' });
          return told;
        }),
      );
      const errors = {};
      for (const { state } of states)
        for (const [reason, times] of Object.entries(state.errors))
          errors[reason] = (errors[reason] ?? 0) + times;
      const sum = (field) => states.reduce((all, { state }) => all + state[field], 0);
      return {
        connected: sum('connected'),
        sessions: sum('sessions'),
        attempts: sum('attempts'),
        enrolMs: Math.max(...states.map(({ state }) => state.enrolMs)),
        backMs: states.flatMap(({ state }) => state.backMs).sort((a, b) => a - b),
        attemptMs: states.flatMap(({ state }) => state.attemptMs).sort((a, b) => a - b),
        errors,
      };
    },
    async close() {
      for (const child of children) child.send({ type: 'stop' });
      await Promise.all(children.map(({ gone }) => gone));
      rmSync(dirname(program), { recursive: true, force: true });
    },
  };
}
