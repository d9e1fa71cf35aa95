// The keys of what a node lets itself be ordered, and by whom.
import { isAbsolute } from 'node:path';
import type { ConfigKey } from './keys.ts';
import { parseChoice, parseInteger, parseText, ValueProblem } from './value.ts';

/** require: only signed orders · optional: unsigned ones of older schedulers too, with a warning. */
export const signatureModes = ['require', 'optional'] as const;
export type SignatureMode = (typeof signatureModes)[number];

/** required: a node proves who it is for this TLS connection alone · off: for any, so that a proxy may end the TLS. */
export const channelBindings = ['required', 'off'] as const;
export type ChannelBinding = (typeof channelBindings)[number];

const key = <T>(entry: ConfigKey<T>): ConfigKey<T> => entry;

export const orderKeys = {
  'orders.signatures': key<SignatureMode>({
    flag: '--orders-signatures',
    argument: 'MODE',
    variable: 'FLOPD_ORDERS_SIGNATURES',
    help: 'whether this node takes only orders that its scheduler signed (require), or also unsigned ones of schedulers before protocol version 2 (optional)',
    defaultText: 'require',
    example: 'require',
    fallback: () => 'require',
    parse: (value) => parseChoice(value, signatureModes, 'a mode of signatures'),
    format: (value) => value,
  }),
  'orders.submitters': key<string | null>({
    flag: '--orders-submitters',
    argument: 'PATH',
    variable: 'FLOPD_ORDERS_SUBMITTERS',
    help: 'file of the public keys whose jobs may run on this node, one a line with a comment; other jobs are refused',
    defaultText: 'everybody who may submit to the scheduler',
    example: '/etc/flopd/submitters',
    fallback: () => null,
    parse(value) {
      const path = parseText(value, 'a path', 4096);
      if (!isAbsolute(path))
        throw new ValueProblem('not an absolute path', 'write it from the root, as /etc/flopd/submitters');
      return path;
    },
    format: (value) => value ?? '',
  }),
  'protocol.least': key<number>({
    flag: '--protocol-least',
    argument: 'N',
    variable: 'FLOPD_PROTOCOL_LEAST',
    help: 'oldest version of the protocol that agent and scheduler speak; peers that know only older ones are refused',
    defaultText: '1',
    example: '2',
    fallback: () => 1,
    parse: (value) => parseInteger(value, { min: 1, max: 2 }, '2'),
    format: String,
  }),
  'protocol.channelBinding': key<ChannelBinding>({
    flag: '--channel-binding',
    argument: 'MODE',
    variable: 'FLOPD_CHANNEL_BINDING',
    help: 'whether a node proves who it is for this one TLS connection (required), or for any (off, where a reverse proxy ends the TLS; to be said on both sides): whoever ends it can then pass for the node as long as the connection lasts',
    defaultText: 'required',
    example: 'required',
    fallback: () => 'required',
    parse: (value) => parseChoice(value, channelBindings, 'a mode of channel binding'),
    format: (value) => value,
  }),
};
