// Lists and what they list, held together: commands and their files, columns and the reader that fills them.

/** Commands of src/cli/catalogue.ts: name and the file that its `load` imports. */
export function readCommandCatalogue(
  text: string,
): readonly { readonly name: string; readonly file: string }[] {
  const entry = /\{\s*name:\s*'(?<name>[^']+)'[^{}]*?load:\s*\(\)\s*=>\s*import\('\.\/(?<file>[^']+)'\)/g;
  return [...text.matchAll(entry)].map(({ groups }) => ({
    name: groups?.name ?? '',
    file: groups?.file ?? '',
  }));
}

/** `files` maps each file of src/cli to its text. A file is a command when it exports `define`. */
export function findCatalogueFaults(
  catalogue: string,
  files: ReadonlyMap<string, string>,
): readonly string[] {
  const entries = readCommandCatalogue(catalogue);
  const isCommand = (text: string): boolean => /^export (?:async )?(?:function|const) define\b/m.test(text);
  const listed = new Set(entries.map(({ file }) => file));
  const names = entries.map(({ name }) => name);
  return [
    ...names.filter((name, at) => names.indexOf(name) !== at).map((name) => `${name}: listed twice`),
    ...entries.flatMap(({ name, file }) => {
      const text = files.get(file);
      if (text === undefined) return [`${name}: src/cli/${file} does not exist`];
      const due = `${name.replaceAll(' ', '-')}.ts`;
      if (file !== due) return [`${name}: its file is called ${file}, not ${due}`];
      return isCommand(text) ? [] : [`${name}: src/cli/${file} does not export define`];
    }),
    ...[...files]
      .filter(([file, text]) => isCommand(text) && !listed.has(file))
      .map(([file]) => `src/cli/${file} is a command that the catalogue does not list`),
  ];
}

export interface AnnouncedColumn {
  readonly family: string;
  readonly label: string | null;
}

/** Columns that the reader announces and that the one list does not know, or labels otherwise than it says. */
export function findColumnFaults(
  announced: readonly AnnouncedColumn[],
  families: Readonly<Record<string, { readonly label: string | null }>>,
): readonly string[] {
  const seen = new Set<string>();
  return announced.flatMap(({ family, label }) => {
    const known = Object.hasOwn(families, family) ? families[family] : undefined;
    const name = `${family}${label === null ? '' : `{${label}}`}`;
    if (known === undefined) return [`${name}: not in src/protocol/columns.ts`];
    if ((known.label === null) !== (label === null))
      return [`${name}: ${known.label === null ? 'has no label' : `needs its label ${known.label}`}`];
    if (seen.has(name)) return [`${name}: announced twice`];
    seen.add(name);
    return [];
  });
}
