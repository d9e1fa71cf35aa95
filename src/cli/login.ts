// `flopd login URL`: checks a token against the scheduler, keeps it for this user, and registers the key that this user
// signs submissions with. Exit code 0 only after the scheduler has recognised both.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Fault, isFault } from '../base/fault.ts';
import { splitPin } from '../base/token-text.ts';
import { parseSchedulerUrl } from '../config/value.ts';
import { fetchPinned } from '../dial/pinned.ts';
import { readAuthorities } from '../dial/trust.ts';
import { isAtLeast } from '../protocol/role.ts';
import type { Context } from './context.ts';
import { openDialer } from './dialling.ts';
import { readToken } from './endpoint.ts';
import { exitCode } from './exit-code.ts';
import { addConfigFlags, readConfig } from './flags.ts';
import { keepLogin, loginFile } from './login-store.ts';
import { writeLines } from './output.ts';
import { readSecretLine } from './secret-line.ts';
import { registration } from './submitter-key.ts';
import { escapeText } from './text.ts';
import { requireKind } from './token-kind.ts';
import { readFlag, usageFault } from './usage.ts';
import { createUserClient } from './user-client.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<url>', 'base URL of the scheduler')
    .option(
      '--token-file <PATH>',
      'file with the token; without it, it is asked for, or read from standard input',
    );
  addConfigFlags(command, ['caFile']).addHelpText(
    'after',
    `
The token is one that "flopd user create" or "flopd user token" has shown. Where it carries the pin of the scheduler's
own authority, that one alone is believed from then on. Token and authority are kept in credentials.json below
$XDG_CONFIG_HOME/flopd, with a key of yours, key.pem, which never leaves this host.

Examples:
  flopd login https://scheduler.example:7070
  flopd login https://scheduler.example:7070 <token.txt`,
  );
  command.action(async (text: string) => {
    const url = readFlag('url', text, parseSchedulerUrl);
    const { caFile } = await readConfig(command, context);
    const { tokenFile } = command.opts() as { tokenFile?: string };
    const given =
      tokenFile === undefined
        ? await askToken(context, url)
        : readToken(resolve(context.folder, tokenFile), 'check the path');
    requireKind(given, 'user');
    const { token, pin } = splitPin(given);
    const authorities = await authoritiesOf(url, caFile, pin);
    const users = createUserClient({
      url,
      token,
      tokenFile: tokenFile ?? 'standard input',
      dialer: openDialer(authorities),
      signer: null,
    });
    const { user, role, schedulerId, tokenExpiresAt } = await users.me().catch((error: unknown) => {
      throw isFault(error, 'SCHEDULER_TOKEN_REFUSED') ? refused(url) : error;
    });
    if (tokenExpiresAt === null)
      throw new Fault('LOGIN_LOCAL', 'that is the local token of the scheduler, which needs no login', {
        remedy: 'make a user for yourself: flopd user create NAME --role submitter',
      });
    if (isAtLeast(role, 'submitter'))
      await users.addKey(registration(context.environment, schedulerId, user));
    keepLogin(context.environment, url, { user, token, schedulerId, authorities, checkedAtMs: 0 });
    await writeLines(
      context.stdout,
      [
        `logged in to ${url} as ${user} (${role}), until ${tokenExpiresAt}`,
        `kept in ${loginFile(context.environment)}`,
      ].map(escapeText),
    );
    finish(exitCode.ok);
  });
}

function refused(url: string): Fault {
  return new Fault('SCHEDULER_TOKEN_REFUSED', `scheduler ${url} does not take this token`, {
    field: 'tokenFile',
    remedy:
      'it is wrong, has expired or was replaced: copy it anew, or ask an admin for another (flopd user token NAME)',
  });
}

/** Whom to believe from now on, in PEM; null: the system's authorities. */
async function authoritiesOf(
  url: string,
  caFile: string | null,
  pin: string | null,
): Promise<string[] | null> {
  if (caFile !== null) return [...readAuthorities(caFile)];
  return pin === null ? null : [await fetchPinned(openDialer(null), url, pin)];
}

async function askToken(context: Context, url: string): Promise<string> {
  const text = await readSecretLine(context, `token for ${url}: `);
  if (/^[\x21-\x7e]{1,4096}$/.test(text)) return text;
  throw usageFault(
    'no token was given',
    'paste the line that "flopd user create" showed, or name --token-file PATH',
  );
}
