// First byte of a follow record (api.ts). Apart from the schemas, so that the command line has it without them.
export const followKind = { job: 0, stdout: 1, stderr: 2, keepAlive: 3 } as const;
