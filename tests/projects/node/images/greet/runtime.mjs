// The Runtime API of Lambda (developer guide, "Using the Lambda runtime API for custom runtimes").
const base = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`;
const { handle } = await import(`./${process.argv[2]}`);

for (;;) {
  const next = await fetch(`${base}/invocation/next`);
  const invocation = `${base}/invocation/${next.headers.get("lambda-runtime-aws-request-id")}`;
  try {
    await fetch(`${invocation}/response`, { method: "POST", body: JSON.stringify(await handle(await next.json())) });
  } catch (error) {
    const body = JSON.stringify({ errorType: error.name, errorMessage: error.message });
    await fetch(`${invocation}/error`, { method: "POST", body });
  }
}
