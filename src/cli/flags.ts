// The flags that stand for configuration keys, on the commands that use them, and reading them back.
import { type Command, Option } from 'commander';
import { type Config, loadConfig } from '../config/config.ts';
import { type ConfigKeyName, configKeyNames, configKeys } from '../config/keys.ts';
import type { Context } from './context.ts';

/** Keys that client verbs take. */
export const clientKeys = [
  'scheduler',
  'tokenFile',
  'caFile',
  'stateDir',
] as const satisfies readonly ConfigKeyName[];

/** Keys of how jobs are walled in: for the command that checks a host. */
export const wallKeys = configKeyNames.filter((name) => name.startsWith('jobs.'));

/** Keys that hold for every job of a node: for the commands that hold its job room. */
export const jobKeys = configKeyNames.filter(
  (name) => name.startsWith('jobs.') || name.startsWith('orders.') || name.startsWith('policy.'),
);

/** Keys of the scheduler's TLS: for the commands that run one. */
export const tlsKeys = configKeyNames.filter((name) => name.startsWith('tls.'));

/** Keys of where the scheduler stands. */
export const placeKeys = configKeyNames.filter((name) => name.startsWith('place.'));

/** Keys of what the scheduler decides about the data of jobs. */
export const schedulerKeys: readonly ConfigKeyName[] = [...placeKeys, 'policy.corridors'];

/** A flag that stands for a configuration key: another flag of the same name on some other command is none. */
class ConfigOption extends Option {
  readonly key: ConfigKeyName;

  constructor(key: ConfigKeyName) {
    const { flag, argument, help, variable, defaultText } = configKeys[key];
    super(`${flag} <${argument}>`, `${help} (${variable}; default: ${defaultText})`);
    this.key = key;
  }
}

export function addConfigFlags(command: Command, names: readonly ConfigKeyName[]): Command {
  for (const name of names) command.addOption(new ConfigOption(name));
  return command.option('--config <FILE>', 'configuration file (FLOPD_CONFIG; see "flopd config path")');
}

/** The configuration as this command line asks for it; flags may stand before or behind the command's name. */
export function readConfig(command: Command, context: Context): Promise<Config> {
  const flags: Partial<Record<ConfigKeyName, string>> = {};
  let file: string | undefined;
  for (let at: Command | null = command; at !== null; at = at.parent) {
    const values: Record<string, unknown> = at.opts();
    for (const option of at.options) {
      const value = values[option.attributeName()];
      if (typeof value !== 'string') continue;
      if (option instanceof ConfigOption) flags[option.key] ??= value;
      else if (option.long === '--config') file ??= value;
    }
  }
  return loadConfig({ flags, environment: context.environment, file, folder: context.folder });
}
