// `flopd config init|print|validate|path`.
import { closeSync, openSync, writeSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { errnoOf, Fault } from '../base/fault.ts';
import { makeFolder } from '../base/folder.ts';
import { configValue } from '../config/config.ts';
import { findFile, searchedFiles } from '../config/file.ts';
import { configKeyNames, configKeys } from '../config/keys.ts';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { addConfigFlags, readConfig } from './flags.ts';
import { addOutputFlag, type OutputFormat, printValue, writeLines, writeOut } from './output.ts';
import { renderTable } from './table.ts';
import { ABSENT } from './text.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  // All keys' flags work here, so that `config print` answers "what would it be if".
  addConfigFlags(command, configKeyNames).enablePositionalOptions();
  const sub = (name: string, summary: string): Command =>
    command
      .command(name)
      .description(summary)
      .helpOption('-h, --help', 'print help')
      .copyInheritedSettings(command);

  const init = sub('init', 'write a commented example; refuses to overwrite')
    .argument('[file]', 'where (default: the first place that is searched)')
    .option('--print', 'print it instead');
  init.action(async (file: string | undefined) => {
    if ((init.opts() as { print?: boolean }).print === true) await writeOut(context.stdout, exampleText());
    else await writeOut(context.stdout, `wrote ${writeExample(context, file)}\n`);
    finish(exitCode.ok);
  });

  const print = addOutputFlag(
    addConfigFlags(sub('print', 'print every key, its value and where it comes from'), configKeyNames),
  );
  print.action(async () => {
    const { output } = print.opts() as { output: OutputFormat };
    const config = await readConfig(print, context);
    const rows = configKeyNames.map((key) => {
      const { kind, place } = config.sources[key];
      return {
        key,
        value: configValue(config, key),
        source: kind === 'default' ? 'default' : `${kind} ${place}`,
      };
    });
    const { sources, file, ...values } = config;
    await printValue(context, output, { file, values, sources }, (style) =>
      renderTable(
        [
          { title: 'KEY', cell: (row) => row.key },
          { title: 'VALUE', cell: (row) => row.value || ABSENT },
          { title: 'FROM', cell: (row) => row.source },
        ],
        rows,
        style,
      ),
    );
    finish(exitCode.ok);
  });

  const validate = addConfigFlags(
    sub('validate', 'check the configuration; exit code 2 when it is wrong'),
    configKeyNames,
  );
  validate.argument('[file]', 'check this file instead of the active one');
  validate.action(async (file: string | undefined) => {
    const config = await readConfig(
      validate,
      file === undefined
        ? context
        : { ...context, environment: { ...context.environment, FLOPD_CONFIG: file } },
    );
    await writeOut(
      context.stdout,
      config.file === null ? 'valid: no configuration file, defaults hold\n' : `valid: ${config.file}\n`,
    );
    finish(exitCode.ok);
  });

  const path = sub('path', 'print where a file is searched, and which one is active');
  path.option('--config <FILE>', 'configuration file');
  path.action(async () => {
    const named =
      (path.opts() as { config?: string }).config ?? (context.environment.FLOPD_CONFIG || undefined);
    const active = named === undefined ? findFile(context.environment) : resolve(context.folder, named);
    const places = named === undefined ? searchedFiles(context.environment) : [active ?? ''];
    await writeLines(
      context.stdout,
      places.map((place) => (place === active ? `${place} (active)` : place)),
    );
    finish(exitCode.ok);
  });

  command.action(() => command.help({ error: true }));
}

/** A commented example of every key. */
export function exampleText(): string {
  const lines = [
    '# flopd: every key with its default or an example. A flag wins over its variable, a variable over this file.',
    '',
  ];
  let section = '';
  for (const name of configKeyNames) {
    const { help, variable, flag, defaultText, example } = configKeys[name];
    const [outer, leaf] = name.split('.');
    if (leaf !== undefined && outer !== section) {
      section = outer ?? '';
      lines.push(`#${section}:`);
    }
    const indent = leaf === undefined ? '' : '  ';
    lines.push(`${indent}# ${help} (${flag}, ${variable}; default: ${defaultText})`);
    lines.push(
      `#${indent}${leaf ?? name}: ${/[[\]:#{}&*!|>'"%@`]/.test(example) ? JSON.stringify(example) : example}`,
      '',
    );
  }
  return lines.join('\n');
}

function writeExample(context: Context, file: string | undefined): string {
  const path =
    file === undefined ? (searchedFiles(context.environment)[0] ?? '') : resolve(context.folder, file);
  try {
    makeFolder(dirname(path));
    const fd = openSync(path, 'wx', 0o600);
    try {
      writeSync(fd, exampleText());
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST') {
      throw new Fault('FILE_EXISTS', `${path} exists already and is not overwritten`, {
        remedy: 'name another file, or remove that one first',
      });
    }
    throw new Fault('FILE_UNWRITABLE', `${path} cannot be written (${errno ?? String(error)})`, {
      remedy: 'name a file in a folder of yours: flopd config init FILE',
      cause: error,
    });
  }
  return path;
}
