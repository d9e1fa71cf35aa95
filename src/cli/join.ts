// `flopd join URL`: enrols this host. Exit code 0 only after the scheduler's acknowledgement is on disk.
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { Fault } from '../base/fault.ts';
import type { Config } from '../config/config.ts';
import { parseSchedulerUrl } from '../config/value.ts';
import type { Context } from './context.ts';
import { prepareStateDir } from './daemon.ts';
import { readToken } from './endpoint.ts';
import { exitCode } from './exit-code.ts';
import { addConfigFlags, readConfig } from './flags.ts';
import { writeLines } from './output.ts';
import { shellQuote } from './text.ts';
import { requireKind } from './token-kind.ts';
import { readFlag, usageFault } from './usage.ts';

/** Where the units have it (systemd/flopd-runner.service). */
const SHARED_SOCKET = '/run/flopd-runner/runner.sock';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<url>', 'base URL of the scheduler')
    .option('--token <TOKEN>', 'join token (other users of this host can see it: prefer --token-file)')
    .option('--token-file <PATH>', 'file with the join token')
    .option('--new-key', 'with a key made anew: for a host whose key was revoked');
  command.option(
    '--runner-state-dir <DIR>',
    'state directory of the job runner of this host, which learns whose orders to carry out',
  );
  addConfigFlags(command, ['stateDir', 'caFile', 'node.name', 'runner.user']).addHelpText(
    'after',
    `
Makes a key that never leaves this host, and shows its public half to the scheduler. On a host that is enrolled
already it asks again: after the scheduler has lost its state this brings the host back, with the jobs that run on it.
Tokens are made with "flopd scheduler token create"; on the machine of the scheduler, scheduler/join-token of its state
directory is one.

Example:
  flopd join http://127.0.0.1:7070 --token-file ./join-token && flopd agent

With a job runner apart from the agent (systemd/README.md), as root:
  flopd join URL --token-file FILE --state-dir /var/lib/flopd --runner-user flopd --runner-state-dir /var/lib/flopd-runner`,
  );
  command.action(async (text: string) => {
    const url = readUrl(text);
    const config = await readConfig(command, context);
    const { token, tokenFile, newKey, runnerStateDir } = command.opts() as {
      token?: string;
      tokenFile?: string;
      newKey?: true;
      runnerStateDir?: string;
    };
    const joinTokenFile = tokenFile === undefined ? null : resolve(context.folder, tokenFile);
    const joinToken = chooseToken(token, joinTokenFile);
    requireKind(joinToken, 'join');
    prepareStateDir(config);
    const enrolled = await context.daemons.readEnrolment(config.stateDir);
    if (enrolled !== null && enrolled.schedulerUrl !== url) throw enrolledElsewhere(config, enrolled);
    const answer = await context.daemons.enrol({
      url,
      token: joinToken,
      stateDir: config.stateDir,
      name: config.node.name ?? hostname(),
      isNamed: config.node.name !== null,
      tokenFile: joinTokenFile,
      again: enrolled !== null,
      newKey: newKey === true,
      caFile: config.caFile,
      runner:
        runnerStateDir === undefined
          ? null
          : { stateDir: resolve(context.folder, runnerStateDir), agentUser: config.runner.user },
    });
    const isSame = enrolled !== null && enrolled.schedulerId === answer.schedulerId;
    const how = enrolled === null ? 'enrolled' : isSame ? 'already enrolled' : 'enrolled again';
    await writeLines(context.stdout, [
      `${how} with ${url} as ${answer.nodeId}`,
      ...startLines(
        config.sources.stateDir.kind === 'flag' ? config.stateDir : null,
        runnerStateDir === undefined
          ? null
          : { stateDir: resolve(context.folder, runnerStateDir), user: config.runner.user },
      ),
    ]);
    finish(exitCode.ok);
  });
}

/** How the daemons of this host are started, whole lines. `stateDir`: of the agent, where it is not the usual one. */
export function startLines(
  stateDir: string | null,
  runner: { readonly stateDir: string; readonly user: string | null } | null,
): string[] {
  const own = stateDir === null ? '' : ` --state-dir ${shellQuote(stateDir)}`;
  if (runner === null)
    return [`start the agent: flopd agent${own}   (as a service: systemctl start flopd-agent)`];
  // The state folder of the runner is closed to the agent's user.
  const socket = runner.user === null ? join(runner.stateDir, 'runner.sock') : SHARED_SOCKET;
  const at = runner.user === null ? '' : ` --runner ${socket} --runner-user ${shellQuote(runner.user)}`;
  const as = runner.user === null ? '' : `, as user ${runner.user}`;
  return [
    `start the runner: flopd runner --state-dir ${shellQuote(runner.stateDir)}${at}`,
    `start the agent${as}: flopd agent${own} --runner ${shellQuote(socket)}`,
    'as services: systemctl start flopd-runner flopd-agent',
  ];
}

function readUrl(text: string): string {
  return readFlag('url', text, (given) => parseSchedulerUrl(given));
}

function chooseToken(token: string | undefined, tokenFile: string | null): string {
  if (token !== undefined && tokenFile !== null)
    throw usageFault('--token and --token-file are both given', 'give one of them');
  if (tokenFile !== null) return readToken(tokenFile, 'check the path');
  if (token === undefined)
    throw usageFault(
      'a join token is needed',
      'give --token TOKEN or --token-file PATH; an admin makes one with "flopd scheduler token create"',
    );
  if (!/^[\x21-\x7e]{1,256}$/.test(token))
    throw usageFault('--token: not a token', 'copy it as "flopd scheduler token create" printed it');
  return token;
}

function enrolledElsewhere(config: Config, enrolled: { nodeId: string; schedulerUrl: string }): Fault {
  return new Fault(
    'ENROLLED_ELSEWHERE',
    `this host is enrolled with ${enrolled.schedulerUrl} already, as ${enrolled.nodeId}`,
    {
      field: 'stateDir',
      remedy: `give this membership another directory with --state-dir DIR, or leave the old network: stop the agent and remove ${config.stateDir}/agent`,
    },
  );
}
