"""What is made of a published cube: STAC documents, quick-looks, contact sheets and reports. Imports no torch and no Prefect."""
