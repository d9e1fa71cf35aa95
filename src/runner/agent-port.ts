// The runner's side of its one agent: hands the agent's messages to the job room, tells the agent what the job room
// says, and tells all that is not settled again to each new connection. What a taken-over agent may do ends here: it
// can ask for what is signed, withhold, repeat and listen; it cannot name a path, a command or a device node.
import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { describeError } from '../base/fault.ts';
import type { Log } from '../base/log.ts';
import { createRefusalLog } from '../base/refusal-log.ts';
import type { EnergyAnswer } from '../job/settle.ts';
import { openConnection } from './agent-connection.ts';
import type { Channel } from './channel.ts';
import type { JobRoom, JobRoomEvents } from './job-room.ts';
import { RUNNER_PROTOCOL, type RunnerToAgent } from './protocol.ts';
import type { ToldDevices } from './told-devices.ts';

/** How long the agent may take to say what energy a job used; it is absent otherwise. */
export const ENERGY_DEADLINE_MS = 2000;
const JOBS_IN_A_PIECE = 500;
const AGENT_AWAY: EnergyAnswer = { absent: 'the agent was away when the job ended' };

export interface AgentPortParts {
  readonly identity: { readonly nodeId: string; readonly schedulerId: string; readonly bootId: string };
  readonly devices: ToldDevices;
  readonly safeMode: () => string | null;
  /** A connection that is to carry HTTP for files; false for a ticket that nobody waits for. */
  readonly files: (ticket: string, socket: Socket) => boolean;
  readonly clock: Clock;
  readonly log: Log;
}

export interface AgentPort {
  /** What the job room tells; handed to it when it is opened. */
  readonly events: JobRoomEvents;
  energy(jobId: string, epoch: number): Promise<EnergyAnswer>;
  /** From now on agents are served. */
  open(room: JobRoom): void;
  /** A peer whose right to be here has been checked. */
  connected(socket: Socket): void;
  /** Asks the agent for a connection for files; false where there is no agent. */
  askFiles(ticket: string): boolean;
  /** Safe mode is over, or something else of what is offered has changed. */
  changed(why: string): void;
  hasAgent(): boolean;
  close(): void;
}

/** What an agent that was not here must be told again of an attempt. */
interface Told {
  started: { readonly pid: number; readonly startedAtMs: number } | null;
  stdoutBytes: number;
  stderrBytes: number;
}

export function createAgentPort(parts: AgentPortParts): AgentPort {
  const { identity, safeMode, clock, log } = parts;
  const peers = new Set<Channel>();
  const told = new Map<string, Told>();
  const questions = new Map<number, (answer: EnergyAnswer) => void>();
  let room: JobRoom | null = null;
  let agent: Channel | null = null;
  let lastQuestion = 0;

  const say = (message: RunnerToAgent): void => agent?.send(message);

  function toldOf(jobId: string, epoch: number): Told {
    const key = `${jobId}.${epoch}`;
    const known = told.get(key);
    if (known !== undefined) return known;
    const fresh: Told = { started: null, stdoutBytes: 0, stderrBytes: 0 };
    told.set(key, fresh);
    return fresh;
  }

  function offered() {
    const clip = (list: readonly string[]): string[] => list.map((one) => one.slice(0, 1024)).slice(0, 64);
    const { executors, problems, limitations, dataClasses } = room?.offered() ?? {
      executors: [],
      problems: [],
      limitations: [],
      dataClasses: [],
    };
    return {
      executors: [...executors],
      problems: clip(problems),
      limitations: clip(limitations),
      dataClasses: [...dataClasses],
      safeMode: safeMode()?.slice(0, 1024) ?? null,
      readsProofs: true,
    };
  }

  const events: JobRoomEvents = {
    granted: (jobId, epoch, cpus, ids) => say({ type: 'granted', jobId, epoch, cpus, devices: [...ids] }),
    changed,
    unfit: (ids, finding) => say({ type: 'unfit', ids: [...ids], finding }),
    started(jobId, epoch, pid, startedAtMs) {
      toldOf(jobId, epoch).started = { pid, startedAtMs };
      say({ type: 'jobStarted', jobId, epoch, pid, startedAtMs });
    },
    progress(jobId, epoch, text) {
      if (agent?.hasRoom() === true) say({ type: 'progress', jobId, epoch, text: text.slice(0, 256) });
    },
    outputGrew(jobId, epoch, stdoutBytes, stderrBytes) {
      Object.assign(toldOf(jobId, epoch), { stdoutBytes, stderrBytes });
      say({ type: 'grew', jobId, epoch, stdoutBytes, stderrBytes });
    },
    settled: ({ state }) => say({ type: 'settled', state }),
    ended: (result) => say({ type: 'ended', result }),
  };

  function changed(why: string): void {
    if (agent !== null) say({ type: 'offered', ...offered(), why });
  }

  /** All that an agent that knows nothing must know: what is held at once, results as fast as it takes them. */
  async function tellAll(own: Channel, to: JobRoom): Promise<void> {
    say({ type: 'welcome', version: RUNNER_PROTOCOL, ...identity, ...offered() });
    const held = to.held();
    for (let at = 0; at < held.length; at += JOBS_IN_A_PIECE)
      say({ type: 'jobs', held: held.slice(at, at + JOBS_IN_A_PIECE) });
    const present = new Set(held.map(({ jobId, epoch }) => `${jobId}.${epoch}`));
    for (const key of told.keys()) if (!present.has(key)) told.delete(key);
    for (const { jobId, epoch } of held) {
      const { started, stdoutBytes, stderrBytes } = toldOf(jobId, epoch);
      if (started !== null) say({ type: 'jobStarted', jobId, epoch, ...started });
      if (stdoutBytes + stderrBytes > 0) say({ type: 'grew', jobId, epoch, stdoutBytes, stderrBytes });
    }
    say({ type: 'told' });
    for (const result of to.unsettled()) {
      await own.roomy();
      if (!own.isOpen()) return;
      own.send({ type: 'ended', result } satisfies RunnerToAgent);
    }
  }

  const refusals = createRefusalLog(log, clock);

  function connected(socket: Socket): void {
    const channel = openConnection(socket, {
      ...parts,
      room: () => room,
      greeted(own, to) {
        agent?.close('another agent has come');
        agent = own;
        log.info({}, 'an agent has come');
        tellAll(own, to).catch((error: unknown) => own.close(describeError(error)));
      },
      gone(own, why, code) {
        peers.delete(own);
        if (agent === own) {
          agent = null;
          log.warn({ code }, `the agent is away: ${why}; running jobs go on`);
        } else if (code !== null) refusals.refused({ code }, `a connection was refused: ${why}`);
      },
      acknowledged: (jobId, epoch) => void told.delete(`${jobId}.${epoch}`),
      energyTold: (request, answer) => questions.get(request)?.(answer),
    });
    peers.add(channel);
  }

  return {
    events,
    energy(jobId, epoch) {
      if (agent === null) return Promise.resolve(AGENT_AWAY);
      lastQuestion = (lastQuestion + 1) % 0xffff_ffff;
      const request = lastQuestion;
      return new Promise((resolve) => {
        const timer = clock.after(ENERGY_DEADLINE_MS, () => give(AGENT_AWAY));
        const give = (answer: EnergyAnswer): void => {
          timer.cancel();
          questions.delete(request);
          resolve(answer);
        };
        questions.set(request, give);
        say({ type: 'energyAsked', request, jobId, epoch });
      });
    },
    open(opened) {
      room = opened;
    },
    connected,
    askFiles(ticket) {
      if (agent === null) return false;
      say({ type: 'filesAsked', ticket });
      return true;
    },
    changed,
    hasAgent: () => agent !== null,
    close() {
      for (const peer of [...peers]) peer.close('the runner stops');
    },
  };
}
