// Every command once: its name, its line in `flopd --help`, and where its code is. Code is loaded only when the
// command is called, so that the agent carries none of the user's verbs. To add one: a file here, a line below; of a
// command below another the file is called `scheduler-token-create.ts`.
import type { Command } from 'commander';
import type { Context } from './context.ts';

export interface CommandModule {
  /** Adds arguments, flags, help and action; the action calls `finish` with the exit code. */
  define(command: Command, context: Context, finish: (code: number) => void): void;
}

export interface CatalogueEntry {
  /** Its words after `flopd`; of more than one word, a command below another: `scheduler token create`. */
  readonly name: string;
  /** Heading of its line in `flopd --help`; null below another command. */
  readonly group: string | null;
  readonly summary: string;
  /** Null for words that only hold others. */
  readonly load: (() => Promise<CommandModule>) | null;
}

const NETWORK = 'Run a network:';
const JOBS = 'Jobs:';
const NODES = 'Nodes:';
const HOST = 'This host:';

export const catalogue: readonly CatalogueEntry[] = [
  {
    name: 'up',
    group: NETWORK,
    summary: 'scheduler and agent on this machine, at once',
    load: () => import('./up.ts'),
  },
  {
    name: 'scheduler',
    group: NETWORK,
    summary: 'the scheduler daemon',
    load: () => import('./scheduler.ts'),
  },
  { name: 'agent', group: NETWORK, summary: 'the node agent daemon', load: () => import('./agent.ts') },
  {
    name: 'join',
    group: NETWORK,
    summary: 'enrol this host with a scheduler',
    load: () => import('./join.ts'),
  },
  {
    name: 'run',
    group: JOBS,
    summary: 'run a command on the network and stream its output',
    load: () => import('./run.ts'),
  },
  { name: 'jobs', group: JOBS, summary: 'list jobs, newest first', load: () => import('./jobs.ts') },
  {
    name: 'job',
    group: JOBS,
    summary: 'all about one job, first why it waits or ended',
    load: () => import('./job.ts'),
  },
  { name: 'logs', group: JOBS, summary: 'the output of a job', load: () => import('./logs.ts') },
  {
    name: 'fetch',
    group: JOBS,
    summary: 'bring the outputs of a job here',
    load: () => import('./fetch.ts'),
  },
  {
    name: 'attach',
    group: JOBS,
    summary: 'follow the output of a running job from now on',
    load: () => import('./attach.ts'),
  },
  {
    name: 'exec',
    group: JOBS,
    summary: 'run a command beside a running job',
    load: () => import('./exec.ts'),
  },
  { name: 'cancel', group: JOBS, summary: 'cancel jobs', load: () => import('./cancel.ts') },
  {
    name: 'wait',
    group: JOBS,
    summary: "wait for jobs and exit with the job's code",
    load: () => import('./wait.ts'),
  },
  { name: 'nodes', group: NODES, summary: 'list nodes', load: () => import('./nodes.ts') },
  { name: 'node', group: NODES, summary: 'all about one node', load: () => import('./node.ts') },
  {
    name: 'drain',
    group: NODES,
    summary: 'no new jobs for a node or one of its devices; what runs goes on',
    load: () => import('./drain.ts'),
  },
  {
    name: 'resume',
    group: NODES,
    summary: 'new jobs again for a node or one of its devices',
    load: () => import('./resume.ts'),
  },
  {
    name: 'audit',
    group: NODES,
    summary: 'the chained log of decisions of a scheduler or node',
    load: null,
  },
  {
    name: 'audit verify',
    group: null,
    summary: 'check that no record was changed, removed or moved',
    load: () => import('./audit-verify.ts'),
  },
  {
    name: 'audit list',
    group: null,
    summary: 'print records',
    load: () => import('./audit-list.ts'),
  },
  {
    name: 'devices',
    group: HOST,
    summary: 'what the accelerators and the CPU of this host say now',
    load: () => import('./devices.ts'),
  },
  {
    name: 'top',
    group: HOST,
    summary: 'live view of this host, or with --scheduler of the network',
    load: () => import('./top.ts'),
  },
  {
    name: 'doctor',
    group: HOST,
    summary: 'check this host, with a remedy for each finding',
    load: () => import('./doctor.ts'),
  },
  {
    name: 'config',
    group: HOST,
    summary: 'write, print and check the configuration',
    load: () => import('./config.ts'),
  },
  {
    name: 'schema',
    group: HOST,
    summary: 'JSON Schemas of job specification, result and protocol',
    load: () => import('./schema.ts'),
  },
  {
    name: 'completion',
    group: HOST,
    summary: 'completion script for bash, zsh or fish',
    load: () => import('./completion.ts'),
  },
];

/** Commands right below this one (`scheduler`, `scheduler token`), with the last word of each. */
export function childrenOf(name: string): readonly (CatalogueEntry & { readonly word: string })[] {
  return catalogue.flatMap((entry) => {
    const word = entry.name.startsWith(`${name} `) ? entry.name.slice(name.length + 1) : '';
    return word === '' || word.includes(' ') ? [] : [{ ...entry, word }];
  });
}

/** Commands that are called by one word. */
export function firstWords(): readonly CatalogueEntry[] {
  return catalogue.filter(({ name }) => !name.includes(' '));
}
