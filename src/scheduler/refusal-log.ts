// Moved to base, where the job room finds it too.
export { createRefusalLog, type RefusalLog } from '../base/refusal-log.ts';
