// What the commands about users share: their client, and how a new token is shown.
import type { Command } from 'commander';
import { withPin } from '../base/token-text.ts';
import { parseDurationMs } from '../config/value.ts';
import { MAX_TOKEN_LIFE_MS, MIN_TOKEN_LIFE_MS, type NewTokenView } from '../protocol/user-api.ts';
import { addClientFlags } from './client-command.ts';
import type { Context } from './context.ts';
import { findAccess } from './endpoint.ts';
import { readConfig } from './flags.ts';
import { howToCall } from './invocation.ts';
import { writeLines } from './output.ts';
import { escapeText } from './text.ts';
import { readGivenFlag, usageFault } from './usage.ts';
import { createUserClient, type UserClient } from './user-client.ts';

export const EXPIRES_HELP = 'how long the token is good: 12h, 30d, at most 366d (default: 90d)';

export function addUserFlags(command: Command): Command {
  return addClientFlags(command);
}

export async function openUsers(
  command: Command,
  context: Context,
): Promise<UserClient & { readonly url: string }> {
  const access = await findAccess(await readConfig(command, context), context.environment);
  return { ...createUserClient(access), url: access.url };
}

export function readLifetime(text: string | undefined): number | undefined {
  const range = { min: MIN_TOKEN_LIFE_MS, max: MAX_TOKEN_LIFE_MS };
  return readGivenFlag('--expires', text, (given) => parseDurationMs(given, range, false));
}

/** The usual accident is a shell variable that is not set. */
export function requireName(name: string): string {
  if (name !== '') return name;
  throw usageFault('name: it is empty', 'name a user as "flopd user list" shows it');
}

/** The token, once, and what its user does with it. */
export async function showToken(
  context: Context,
  url: string,
  { user, token, pin, ...made }: NewTokenView,
): Promise<void> {
  await writeLines(
    context.stdout,
    [
      `user:    ${user.name} (${user.role})`,
      `token:   ${withPin(token, pin)}`,
      `expires: ${user.token?.expiresAt ?? 'unknown'}`,
      `log in:  ${howToCall(context)} login ${made.url ?? url}   and give the token when it asks; it is not shown again`,
    ].map(escapeText),
  );
}
