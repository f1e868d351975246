from detrex_hub.cli import main

main()
