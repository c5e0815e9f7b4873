from argparse import ArgumentParser

from providers.simulator.command_line import add_arguments, run

if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m providers.simulator", description="A local upstream.")
    add_arguments(parser)
    options = parser.parse_args()
    run(host=options.host, port=options.port, key=options.key, quiet=options.quiet)
