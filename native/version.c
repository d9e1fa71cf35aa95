// The version that the addon says it has: the package's, handed in by build.mjs.
const char flopd_version[] = FLOPD_VERSION;
