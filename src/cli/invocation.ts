// How this very program is called by whoever reads our text: `flopd`, `npx flopd`, or node with the full path.
import { realpathSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Context } from './context.ts';
import { shellQuote } from './text.ts';

export function howToCall({
  environment,
  folder,
  root,
  script,
}: Pick<Context, 'environment' | 'folder' | 'root' | 'script'>): string {
  const own = real(script);
  for (const entry of (environment.PATH ?? '').split(delimiter)) {
    // npm and npx put their own folders in front for their children only.
    if (entry === '' || entry.includes('node_modules')) continue;
    const found = real(join(entry, 'flopd'));
    if (found !== null && found === own) return 'flopd';
  }
  if (real(folder) === real(root)) return 'npx flopd';
  return `node ${shellQuote(own ?? script)}`;
}

function real(path: string): string | null {
  try {
    return realpathSync(path);
  } catch {
    return null;
  }
}
