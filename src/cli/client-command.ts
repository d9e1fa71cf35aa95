// What the verbs share that ask the scheduler: their flags, and a client from the configuration.
import type { Command } from 'commander';
import { type Client, createClient } from './client.ts';
import type { Context } from './context.ts';
import { findAccess } from './endpoint.ts';
import { addConfigFlags, clientKeys, readConfig } from './flags.ts';

export function addClientFlags(command: Command): Command {
  return addConfigFlags(command, clientKeys);
}

export async function openClient(command: Command, context: Context): Promise<Client> {
  return createClient(await findAccess(await readConfig(command, context), context.environment));
}
