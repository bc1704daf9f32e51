export async function handle(event) {
  return { greeting: `Hello, ${event.name}!`, node: Number(process.versions.node.split(".")[0]) };
}
