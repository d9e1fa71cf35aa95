// `flopd logout`: forgets a login on this host. The token itself stays good until it runs out or is revoked.
import type { Command } from 'commander';
import { parseSchedulerUrl } from '../config/value.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { forgetLogin, readLogins } from './login-store.ts';
import { say } from './message.ts';
import { writeLines } from './output.ts';
import { readFlag, usageFault } from './usage.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('[url]', 'base URL of the scheduler (default: the only login)')
    .addHelpText(
      'after',
      '\nThe token stays good until it runs out; an admin ends it with "flopd user revoke NAME" or "flopd user token NAME".',
    );
  command.action(async (text: string | undefined) => {
    const url = text === undefined ? onlyLogin(context) : readFlag('url', text, parseSchedulerUrl);
    if (forgetLogin(context.environment, url)) {
      await writeLines(context.stdout, [`logged out of ${url}`]);
      finish(exitCode.ok);
      return;
    }
    say(context.stderr, `there is no login of ${url}`);
    finish(exitCode.failed);
  });
}

function onlyLogin({ environment }: Context): string {
  const urls = Object.keys(readLogins(environment).schedulers);
  const [only] = urls;
  if (only !== undefined && urls.length === 1) return only;
  throw usageFault(
    only === undefined ? 'there is no login' : 'there are several logins',
    only === undefined ? 'log in with "flopd login URL"' : `name one of ${urls.join(', ')}`,
  );
}
