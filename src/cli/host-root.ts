// Where the kernel shows the host. Parts below take these as parameters; commands pass the real ones.
export const PROC_ROOT = '/proc';
export const SYS_ROOT = '/sys';
