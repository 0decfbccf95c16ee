"""What all processes and stores are doing, in one document: for the operations page and `cartstream top`."""
