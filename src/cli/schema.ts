// `flopd schema [NAME]`: the published JSON Schemas of everything that crosses a border, for other programs.
import type { Command } from 'commander';
import type { Context } from './context.ts';
import { exitCode } from './exit-code.ts';
import { writeOut } from './output.ts';
import { usageFault } from './usage.ts';

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command.argument('[name]', 'which schema; none lists their names').addHelpText(
    'after',
    `
Examples:
  flopd schema
  flopd schema job-spec > job-spec.schema.json`,
  );
  command.action(async (name: string | undefined) => {
    const { jsonSchemas } = await import('../protocol/json-schema.ts');
    const schemas = jsonSchemas();
    if (name === undefined) {
      await writeOut(context.stdout, `${Object.keys(schemas).join('\n')}\n`);
      finish(exitCode.ok);
      return;
    }
    if (!Object.hasOwn(schemas, name))
      throw usageFault(`name: there is no schema ${JSON.stringify(name)}`, 'list them with "flopd schema"');
    await writeOut(context.stdout, `${JSON.stringify(schemas[name], null, 2)}\n`);
    finish(exitCode.ok);
  });
}
