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
  {
    name: 'scheduler ca',
    group: null,
    summary: "the scheduler's private certificate authority",
    load: null,
  },
  {
    name: 'scheduler ca show',
    group: null,
    summary: 'which authority signs, and which is next',
    load: () => import('./scheduler-ca-show.ts'),
  },
  {
    name: 'scheduler ca rotate',
    group: null,
    summary: 'a new authority in place of the present one, with an overlap',
    load: () => import('./scheduler-ca-rotate.ts'),
  },
  { name: 'scheduler token', group: null, summary: 'tokens that hosts join with', load: null },
  {
    name: 'scheduler token create',
    group: null,
    summary: 'make a join token',
    load: () => import('./scheduler-token-create.ts'),
  },
  {
    name: 'scheduler token list',
    group: null,
    summary: 'list join tokens',
    load: () => import('./scheduler-token-list.ts'),
  },
  {
    name: 'scheduler token revoke',
    group: null,
    summary: 'make a join token good for nothing',
    load: () => import('./scheduler-token-revoke.ts'),
  },
  {
    name: 'scheduler key',
    group: null,
    summary: 'the keys that orders are signed with',
    load: null,
  },
  {
    name: 'scheduler key show',
    group: null,
    summary: 'which key signs, and which is next',
    load: () => import('./scheduler-key-show.ts'),
  },
  {
    name: 'scheduler key rotate',
    group: null,
    summary: 'a new key in place of the present one, with an overlap',
    load: () => import('./scheduler-key-rotate.ts'),
  },
  { name: 'agent', group: NETWORK, summary: 'the node agent daemon', load: () => import('./agent.ts') },
  {
    name: 'runner',
    group: NETWORK,
    summary: 'starts jobs for an agent that may not',
    load: () => import('./runner.ts'),
  },
  {
    name: 'join',
    group: NETWORK,
    summary: 'enrol this host with a scheduler',
    load: () => import('./join.ts'),
  },
  {
    name: 'login',
    group: NETWORK,
    summary: 'use a scheduler as a user of it',
    load: () => import('./login.ts'),
  },
  { name: 'logout', group: NETWORK, summary: 'forget a login', load: () => import('./logout.ts') },
  {
    name: 'whoami',
    group: NETWORK,
    summary: 'as whom, and with which role, a scheduler is used',
    load: () => import('./whoami.ts'),
  },
  { name: 'user', group: NETWORK, summary: 'who may use a scheduler', load: null },
  {
    name: 'user create',
    group: null,
    summary: 'make a user and print the first token',
    load: () => import('./user-create.ts'),
  },
  { name: 'user list', group: null, summary: 'list users', load: () => import('./user-list.ts') },
  {
    name: 'user token',
    group: null,
    summary: 'a new token in place of the one before',
    load: () => import('./user-token.ts'),
  },
  {
    name: 'user role',
    group: null,
    summary: 'change what a user may do',
    load: () => import('./user-role.ts'),
  },
  {
    name: 'user revoke',
    group: null,
    summary: "end a user's token and what is open to it",
    load: () => import('./user-revoke.ts'),
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
    name: 'node revoke',
    group: null,
    summary: 'its key is good for nothing any more',
    load: () => import('./node-revoke.ts'),
  },
  {
    name: 'node place',
    group: null,
    summary: 'say where it stands',
    load: () => import('./node-place.ts'),
  },
  { name: 'node label', group: null, summary: 'set its labels', load: () => import('./node-label.ts') },
  {
    name: 'node trust',
    group: null,
    summary: 'of several agents with its key one is left',
    load: () => import('./node-trust.ts'),
  },
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
