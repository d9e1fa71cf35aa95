// A secret from whoever runs the command: typed or pasted on a terminal without being shown, or the first line of what
// standard input holds.
import type { Context } from './context.ts';
import { usageFault } from './usage.ts';

const MAX_LINE = 8192;
const ENDS = ['\r', '\n', '\u0004'];

/** The line without spaces around it. Rejects with USAGE when it was broken off by Ctrl-C. */
export async function readSecretLine(context: Context, prompt: string): Promise<string> {
  const { stdin, stderr } = context;
  if (stdin.isTTY !== true) return firstLine(stdin);
  stderr.write(prompt);
  stdin.setRawMode?.(true);
  try {
    let text = '';
    for await (const chunk of stdin as AsyncIterable<Buffer>) {
      for (const character of chunk.toString('utf8')) {
        if (character === '\u0003') throw usageFault('broken off', 'run it again');
        if (ENDS.includes(character)) return text.trim();
        if (character === '\u007f' || character === '\b') text = text.slice(0, -1);
        else if (text.length < MAX_LINE) text += character;
      }
    }
    return text.trim();
  } finally {
    stdin.setRawMode?.(false);
    stdin.pause();
    stderr.write('\n');
  }
}

async function firstLine(stdin: Context['stdin']): Promise<string> {
  let text = '';
  for await (const chunk of stdin as AsyncIterable<Buffer>) {
    text += chunk.toString('utf8');
    if (text.includes('\n') || text.length > MAX_LINE) break;
  }
  return (text.split('\n', 1)[0] ?? '').trim();
}
