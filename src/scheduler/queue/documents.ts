// The documents of a queue in memory, by kind and id. They are few: all of them are here.
import { Fault } from '../../base/fault.ts';
import { type DocumentKind, MAX_DOCUMENT_BYTES } from './queue.ts';
import type { StoredDocument } from './store.ts';

export interface Documents {
  /** The map follows every change. */
  of(kind: DocumentKind): ReadonlyMap<string, unknown>;
  /** Without a value, takes it out. */
  set(kind: DocumentKind, id: string, value: unknown): void;
}

export function createDocuments(stored: readonly StoredDocument[]): Documents {
  const kinds = new Map<DocumentKind, Map<string, unknown>>();

  function mapOf(kind: DocumentKind): Map<string, unknown> {
    const known = kinds.get(kind);
    if (known !== undefined) return known;
    const made = new Map<string, unknown>();
    kinds.set(kind, made);
    return made;
  }

  for (const { kind, id, value } of stored) mapOf(kind).set(id, JSON.parse(value));
  return {
    of: mapOf,
    set(kind, id, value) {
      if (value === undefined) mapOf(kind).delete(id);
      else mapOf(kind).set(id, value);
    },
  };
}

/** The value as it will be read from the disk again. Throws Fault QUEUE_DOCUMENT_TOO_LONG. */
export function asStored(value: unknown): unknown {
  const text = JSON.stringify(value);
  if (text === undefined) throw new Error('a document must be a JSON value');
  if (Buffer.byteLength(text) <= MAX_DOCUMENT_BYTES) return JSON.parse(text);
  throw new Fault('QUEUE_DOCUMENT_TOO_LONG', `a document is longer than ${MAX_DOCUMENT_BYTES} bytes`);
}
