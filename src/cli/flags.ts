// The flags that stand for configuration keys, on the commands that use them, and reading them back.
import { type Command, Option } from 'commander';
import { type Config, loadConfig } from '../config/config.ts';
import { type ConfigKeyName, configKeyNames, configKeys } from '../config/keys.ts';
import type { Context } from './context.ts';

/** Keys that client verbs take. */
export const clientKeys = ['scheduler', 'tokenFile', 'stateDir'] as const satisfies readonly ConfigKeyName[];

/** Keys that hold for every job of a node: for the commands that run an agent, and the one that checks a host. */
export const jobKeys = configKeyNames.filter((name) => name.startsWith('jobs.'));

function flagOption(name: ConfigKeyName): Option {
  const { flag, argument, help, variable, defaultText } = configKeys[name];
  return new Option(`${flag} <${argument}>`, `${help} (${variable}; default: ${defaultText})`);
}

export function addConfigFlags(command: Command, names: readonly ConfigKeyName[]): Command {
  for (const name of names) command.addOption(flagOption(name));
  return command.option('--config <FILE>', 'configuration file (FLOPD_CONFIG; see "flopd config path")');
}

/** The configuration as this command line asks for it; flags may stand before or behind the command's name. */
export function readConfig(command: Command, context: Context): Promise<Config> {
  const options: Record<string, unknown> = {};
  for (let at: Command | null = command; at !== null; at = at.parent) {
    for (const [name, value] of Object.entries(at.opts())) options[name] ??= value;
  }
  const flags: Partial<Record<ConfigKeyName, string>> = {};
  for (const name of configKeyNames) {
    const value = options[flagOption(name).attributeName()];
    if (typeof value === 'string') flags[name] = value;
  }
  const file = typeof options.config === 'string' ? options.config : undefined;
  return loadConfig({ flags, environment: context.environment, file, folder: context.folder });
}
