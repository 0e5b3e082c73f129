/** Unit and integration tests; `scripts/test` chooses the tiers. */
const esmOnly = ['cookie', 'jose'];
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  transform: { '^.+\\.(t|j)sx?$': ['@swc/jest', { jsc: { target: 'es2022' }, module: { type: 'commonjs' } }] },
  transformIgnorePatterns: [`/node_modules/(?!(${esmOnly.join('|')})/)`],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  // As in test/lab/patience.ts.
  testTimeout: 60_000 * Number(process.env.LAB_PATIENCE ?? 1),
};
